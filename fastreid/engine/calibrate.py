"""Calibrate the scores of a model directory on saved features of a test dataset."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fastreid.engine.features import build_provenance
from fastreid.engine.model_zoo import load_model_config
from fastreid.evaluation.calibration import (
    Calibration,
    ReliabilityBin,
    compute_reliability,
    fit_calibration,
    write_calibration,
)
from fastreid.evaluation.scoring.matches import build_ground_truth
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.storage.manifest import read_manifest
from fastreid.evaluation.storage.saved_features import load_features
from fastreid.utils.errors import InputError

NUM_RESULTS = 10  # results of a query for which the reliability is computed
_BLOCK = 256  # queries


@dataclass(frozen=True)
class CalibrationReport:
    """A calibration and how reliable it is for the first NUM_RESULTS results of each query.

    Args:
        calibration: what was written.
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
    provenance = read_manifest(features).provenance
    changes = provenance.diff(build_provenance(load_model_config(str(directory))))
    if changes:
        raise InputError(f"{features}: the features are not of the model {directory}: {'; '.join(changes[:3])}")
    scores, is_match, is_ignored = compare_features(features)
    kept = ~is_ignored
    calibration = fit_calibration(
        scores[kept], is_match[kept], data=data or provenance.dataset, weights_sha256=provenance.weights_sha256
    )
    prior = calibration.num_matches / (calibration.num_matches + calibration.num_others)
    order = np.argsort(np.where(kept, -scores, np.inf), axis=1, kind="stable")[:, :NUM_RESULTS]
    rows = np.arange(len(order))[:, None]
    first = kept[rows, order]
    probabilities = calibration.compute_probabilities(scores[rows, order][first], prior=prior)
    error, bins = compute_reliability(probabilities, is_match[rows, order][first])
    return CalibrationReport(calibration, write_calibration(directory, calibration), error, bins, prior)


def compare_features(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the cosines of all pairs of a query and a gallery drawing, whether they match, and whether to ignore them.

    Returns:
        Three arrays (Q, G).
    """
    (queries, _), (gallery, _) = load_features(folder, "queries"), load_features(folder, "gallery")
    truth = build_ground_truth(
        queries.patents,
        gallery.patents,
        query_names=queries.names,
        gallery_names=gallery.names,
        query_cameras=queries.cameras,
        gallery_cameras=gallery.cameras,
    )
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
