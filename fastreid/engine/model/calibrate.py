"""Calibrate the scores of a model directory on saved features of a test dataset, or evaluate a calibration."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastreid.engine.features.extract import build_provenance
from fastreid.engine.model.zoo import load_model_config
from fastreid.evaluation.calibration import (
    CALIBRATION_FILE,
    Calibration,
    ReliabilityBin,
    compute_reliability,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from fastreid.evaluation.scoring.matches import build_feature_truth
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.storage.manifest import Provenance, read_manifest
from fastreid.evaluation.storage.saved_features import load_features
from fastreid.utils.errors import InputError

NUM_RESULTS = 10  # results of a query for which the reliability is computed
_BLOCK = 256  # queries


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration and how reliable it is for the first NUM_RESULTS results of each query.

    Args:
        calibration: what was written or read.
        path: its file.
        error: expected calibration error, 0 to 1.
        bins: of the reliability curve.
        prior: mean ratio of matches in the gallery, used for the probabilities.
    """

    calibration: Calibration
    path: Path
    error: float
    bins: list[ReliabilityBin]
    prior: float


def calibrate_model(directory: Path, features: Path, *, data: str = "") -> CalibrationReport:
    """Fit a calibration to saved features of queries and gallery, and write it into the model directory.

    Args:
        directory: the model directory.
        features: folder written by `fastreid extract` with the same model.
        data: description of the drawings; "": the name of the dataset.

    Raises:
        InputError: the folder has no features of queries and gallery, they are of another model or other settings, or
            there are too few pairs.
        StorageError: the file cannot be written.
    """
    pairs = _compare(directory, features)
    kept = ~pairs.is_ignored
    calibration = fit_calibration(
        pairs.scores[kept],
        pairs.is_match[kept],
        data=data or pairs.provenance.dataset,
        weights_sha256=pairs.provenance.weights_sha256,
    )
    write_calibration(directory, calibration)
    return _report(calibration, pairs, directory)


def evaluate_calibration(directory: Path, features: Path) -> CalibrationReport:
    """Return how reliable the calibration of a model directory is for saved features, as for `calibrate_model`.

    Raises:
        InputError: as for `calibrate_model`, or the model has no calibration for its weights.
        StorageError: the calibration is damaged.
    """
    calibration = read_calibration(directory)
    pairs = _compare(directory, features)
    if calibration is None or calibration.weights_sha256 != pairs.provenance.weights_sha256:
        raise InputError(f"{directory}: has no calibration for its weights; `fastreid models calibrate` fits one")
    return _report(calibration, pairs, directory)


@dataclass(frozen=True)
class _Pairs:
    provenance: Provenance
    scores: NDArray[np.float32]
    is_match: NDArray[np.bool_]
    is_ignored: NDArray[np.bool_]


def _compare(directory: Path, features: Path) -> _Pairs:
    provenance = read_manifest(features).provenance
    changes = provenance.diff(build_provenance(load_model_config(str(directory))))
    if changes:
        raise InputError(f"{features}: the features are not of the model {directory}: {'; '.join(changes[:3])}")
    return _Pairs(provenance, *compare_features(features))


def _report(calibration: Calibration, pairs: _Pairs, directory: Path) -> CalibrationReport:
    kept = ~pairs.is_ignored
    prior = float(pairs.is_match[kept].mean())
    order = np.argsort(np.where(kept, -pairs.scores, np.inf), axis=1, kind="stable")[:, :NUM_RESULTS]
    rows = np.arange(len(order))[:, None]
    first = kept[rows, order]
    probabilities = calibration.compute_probabilities(pairs.scores[rows, order][first], prior=prior)
    error, bins = compute_reliability(probabilities, pairs.is_match[rows, order][first])
    return CalibrationReport(calibration, directory / CALIBRATION_FILE, error, bins, prior)


def compare_features(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the cosines of all pairs of a query and a gallery drawing, whether they match, and whether to ignore them.

    Returns:
        Three arrays (Q, G).
    """
    (queries, _), (gallery, _) = load_features(folder, "queries"), load_features(folder, "gallery")
    truth = build_feature_truth(queries, gallery)
    if truth is None:
        raise InputError(f"{folder}: the patents of the drawings are unknown; extract features of a test with patents")
    parts = (torch.as_tensor(np.asarray(one.features[:])) for one in (queries, gallery))
    space = CosineSpace(*parts)
    shape = len(queries.features), len(gallery.features)
    scores, is_match, is_ignored = np.empty(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
    for start in range(0, shape[0], _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, shape[0]))
        scores[rows] = 1 - space.distances(torch.as_tensor(rows), slice(0, shape[1])).numpy()
        relevance = truth.find_relevance(rows)
        for row, matches, ignored in zip(rows, relevance.matches, relevance.ignored):
            is_match[row, matches[matches >= 0]] = True
            is_ignored[row, ignored[ignored >= 0]] = True
    return scores, is_match, is_ignored
