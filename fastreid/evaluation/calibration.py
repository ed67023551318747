"""Calibration of scores: the probability that two drawings with a given cosine show the same object.

Logistic regression on pairs gives the log of the ratio of two densities: how much more often a cosine occurs between
drawings of one object than between others. By Bayes' rule, the log odds of a match are this value plus the log odds
before the comparison, which depend on the collection: one other drawing among 100 is more likely by chance than one
among a million.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastreid.utils.errors import InputError, StorageError
from fastreid.utils.files import read_file_bytes, write_text

CALIBRATION_FILE = "calibration.json"
FORMAT = 1
MIN_PAIRS = 20  # of each kind, for a fit

_MIN_PRIOR = 1e-12


@dataclass(frozen=True)
class Calibration:
    """The log of the density ratio of a cosine s, `slope * s + intercept`.

    Args:
        slope: positive.
        intercept: the value at the cosine 0.
        num_matches: pairs of one object that it was fitted to.
        num_others: pairs of two objects that it was fitted to.
        data: name of the test dataset.
        weights_sha256: of the model whose features were compared.
    """

    slope: float
    intercept: float
    num_matches: int
    num_others: int
    data: str = ""
    weights_sha256: str = ""

    def compute_probabilities(self, scores: ArrayLike, *, prior: float) -> NDArray[np.float64]:
        """Return the probabilities of a match, 0 to 1, in the shape of the scores.

        Args:
            scores: cosines.
            prior: probability that a drawing of the collection, chosen at random, shows the object of the query.
        """
        prior = min(max(prior, _MIN_PRIOR), 1 - _MIN_PRIOR)
        log_odds = self.slope * np.asarray(scores, np.float64) + self.intercept + math.log(prior / (1 - prior))
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(log_odds, -700, 700)))
        return probabilities


def fit_calibration(scores: ArrayLike, is_match: ArrayLike, *, data: str = "", weights_sha256: str = "") -> Calibration:
    """Fit a calibration to pairs of drawings by logistic regression (scikit-learn, almost without regularization).

    Args:
        scores: cosines of N pairs, each query with every drawing of the gallery.
        is_match: N booleans, whether the pair shows one object.
        data: name of the test dataset.
        weights_sha256: of the model.

    Raises:
        InputError: there are fewer than MIN_PAIRS pairs of one kind, or matches do not have larger scores.
    """
    from sklearn.linear_model import LogisticRegression

    values, labels = np.asarray(scores, np.float64).reshape(-1, 1), np.asarray(is_match, bool).ravel()
    num_matches, num_others = int(labels.sum()), int((~labels).sum())
    if min(num_matches, num_others) < MIN_PAIRS:
        raise InputError(
            f"a calibration needs {MIN_PAIRS} pairs of one object and {MIN_PAIRS} of different ones, not {num_matches} "
            f"and {num_others}; use a larger test dataset"
        )
    model = LogisticRegression(C=1e6).fit(values, labels)
    slope = float(model.coef_[0, 0])
    if slope <= 0:
        raise InputError("drawings of one object are not more similar than others; check the model and the dataset")
    intercept = float(model.intercept_[0]) - math.log(num_matches / num_others)
    return Calibration(slope, intercept, num_matches, num_others, data, weights_sha256)


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs with similar probabilities; a calibration is good if the mean probability is the ratio of matches.

    Args:
        mean_probability: 0 to 1.
        match_ratio: pairs of one object, as a ratio of all pairs of the bin.
        num_pairs: pairs of the bin.
    """

    mean_probability: float
    match_ratio: float
    num_pairs: int


def compute_reliability(
    probabilities: ArrayLike, is_match: ArrayLike, *, num_bins: int = 10
) -> tuple[float, list[ReliabilityBin]]:
    """Return the expected calibration error and the bins of a reliability curve.

    Args:
        probabilities: of N pairs.
        is_match: N booleans.
        num_bins: bins with equal numbers of pairs, by increasing probability.

    Returns:
        The mean over all pairs of |mean probability - ratio of matches| of their bin, 0 to 1, and the bins.
    """
    values, labels = np.asarray(probabilities, np.float64).ravel(), np.asarray(is_match, bool).ravel()
    order = values.argsort(kind="stable")
    parts = [part for part in np.array_split(order, num_bins) if len(part)]
    bins = [ReliabilityBin(float(values[part].mean()), float(labels[part].mean()), len(part)) for part in parts]
    error = sum(abs(one.mean_probability - one.match_ratio) * one.num_pairs for one in bins) / max(len(values), 1)
    return error, bins


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write the calibration of a model directory and return its file."""
    path = folder / CALIBRATION_FILE
    write_text(path, json.dumps({"format": FORMAT, **asdict(calibration)}, indent=1) + "\n")
    return path


def read_calibration(folder: Path) -> Calibration | None:
    """Return the calibration of a model directory; None if it has none.

    Raises:
        StorageError: the file is damaged or cannot be read.
    """
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        return parse_calibration(json.loads(read_file_bytes(path)))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); check its permissions")
    except (ValueError, KeyError, TypeError, RecursionError):  # all that damaged bytes can cause
        raise StorageError(f"{path}: damaged, or of another version; run `fastreid models calibrate` again")


def parse_calibration(content: Mapping[str, Any]) -> Calibration:
    """Return the calibration in the content of a file.

    Raises:
        ValueError, KeyError, TypeError: the content is invalid.
    """
    values = dict(content)
    if values.pop("format") != FORMAT:
        raise ValueError("format")
    calibration = Calibration(**values)
    if not (math.isfinite(calibration.slope) and math.isfinite(calibration.intercept) and calibration.slope > 0):
        raise ValueError("slope or intercept")
    return calibration
