"""Negative embedding subtraction: move features away from their nearest features of a background set."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.evaluation.features import (
    FeatureArray,
    as_features,
    check_count,
    iter_slices,
    pairwise_sum,
    row_norms,
    to_tensor,
)
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.search.nearest import find_neighbors
from fastreid.utils.errors import InputError, NumericalError

_CHUNK_ROWS = 1024  # rows computed at a time
_MIN_NORM = 1e-6  # of a feature after subtraction; less is only the rounding error of equal features


@dataclass(frozen=True)
class NegativeSettings:
    """Settings of `subtract_negatives`, which explains them.

    Args:
        k: number of negatives, at least 1.
        beta: weight of their mean, 0..1.
        times: number of repetitions, at least 1.

    Raises:
        InputError: a value is outside its range.
    """

    k: int = 10
    beta: float = 0.35
    times: int = 3

    def __post_init__(self) -> None:
        check_count("k (TEST.NEGATIVE.K)", self.k)
        check_count("times (TEST.NEGATIVE.TIMES)", self.times)
        if not (isinstance(self.beta, (int, float)) and math.isfinite(self.beta) and 0 <= self.beta <= 1):
            raise InputError(f"beta (TEST.NEGATIVE.BETA) must be a number from 0 to 1, not {self.beta!r}")


def subtract_negatives(
    features: FeatureArray,
    background: FeatureArray,
    settings: NegativeSettings,
    *,
    memory_mb: int = 1024,
    precision: str = "auto",
) -> Tensor:
    """Subtract from each feature the mean of its nearest features of a background set.

    A unit feature x becomes the unit vector of x - beta * mean(y) over the k unit features y of the background set that
    are most similar to it; this is repeated, with a new search for y, `times` times. The background set has no drawing
    of the searched objects, so what x shares with it does not identify an object. Source: Yokoo, Contrastive Learning
    with Large Memory Bank and Negative Embedding Subtraction for Accurate Copy Detection (2021), first place of the
    descriptor track of the Image Similarity Challenge 2021; the defaults are those of a public implementation.

    The neighbors are exact for every memory budget; ties are ordered by row. In addition to `memory_mb`, memory is
    needed for the result and the background set, which is read into memory.

    Args:
        features: floats (N, D).
        background: floats (B, D), on the device of the features.
        settings: number of negatives, at most B of which are used, their weight and the number of repetitions.
        memory_mb: working memory in MiB.
        precision: precision of the candidate search, as for `nearest`; it does not affect the result.

    Returns:
        Unit features, float32 (N, D).

    Raises:
        InputError: features that differ in width or device, are empty or not floats.
        NumericalError: a row contains NaN or Inf, or is all zero, before or after the subtraction.
    """
    rows, negatives = as_features(features, "features"), to_tensor(as_features(background, "the background set"))
    norms, negative_norms = row_norms(rows, "features"), row_norms(negatives, "the background set")
    units = torch.empty(rows.shape, device=norms.device)
    parts = list(iter_slices(len(rows), _CHUNK_ROWS))
    for part in parts:
        units[part] = rows[part].double() / norms[part, None]
    for _ in range(settings.times):
        space = CosineSpace(units, negatives)
        nearest = find_neighbors(space, settings.k, memory_mb=memory_mb, precision=precision).indices
        for part in parts:
            total = torch.zeros(len(units[part]), units.shape[1], dtype=torch.float64, device=norms.device)
            for rank in range(nearest.shape[1]):  # nearest first, so that the order of summation is fixed
                negative_rows = nearest[part, rank]
                total += negatives[negative_rows].double() / negative_norms[negative_rows, None]
            units[part] = _normalize(units[part].double() - settings.beta / nearest.shape[1] * total)
    return units


def _normalize(rows: Tensor) -> Tensor:
    norms = pairwise_sum(rows.square()).sqrt()
    num_lost = int((norms < _MIN_NORM).sum())
    if num_lost:
        raise NumericalError(
            f"{num_lost} features equal the mean of their negatives, so nothing is left of them; decrease beta "
            "(TEST.NEGATIVE.BETA), or remove these drawings from the training set"
        )
    return rows / norms[:, None]
