"""k-reciprocal re-ranking on sparse matrices: time and memory grow with drawings times neighbors."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from fastreid.evaluation.features import FeatureArray, check_count, to_tensor
from fastreid.evaluation.search.distance_source import DistanceSource
from fastreid.evaluation.search.metric_space import MetricSpace
from fastreid.evaluation.search.nearest import (
    DistanceBlock,
    build_metric_space,
    find_neighbors,
    iter_distance_blocks,
    self_first,
    topk_of_blocks,
)
from fastreid.evaluation.search.order import topk_by_distance
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError

FORMS = ("fast-reid", "paper")
DISTANCE_REQUIRED = "re-ranking needs a distance: use the metric cosine or euclidean (TEST.METRIC), not inner_product"
_CHUNK_ROWS = 4096  # rows of sparse matrices processed at a time
_CHUNK_QUERIES = 512  # queries re-ranked at a time, each with a dense row of G distances


@dataclass(frozen=True)
class RerankSettings:
    """Settings of `k_reciprocal`, which explains them.

    Args:
        k1: number of nearest drawings that must be reciprocal, at least 1.
        k2: number of nearest drawings whose weights are averaged, 1 to k1.
        lambda_value: weight of the original distance, 0..1.
        form: "fast-reid" or "paper".
        top_n: number of nearest drawings to re-rank; None: all.

    Raises:
        InputError: a value is outside its range.
    """

    k1: int
    k2: int
    lambda_value: float
    form: str = "fast-reid"
    top_n: int | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputError(f"form (TEST.RERANK.FORM) must be {' or '.join(FORMS)}, not {self.form!r}")
        check_count("k1", self.k1)
        if check_count("k2", self.k2) > self.k1:
            raise InputError(f"k2 (TEST.RERANK.K2) must be at most k1 (TEST.RERANK.K1) {self.k1}, not {self.k2}")
        if not (isinstance(self.lambda_value, (int, float)) and 0 <= self.lambda_value <= 1):
            raise InputError(
                f"lambda_value (TEST.RERANK.LAMBDA) must be a number from 0 to 1, not {self.lambda_value!r}"
            )
        if self.top_n is not None:
            check_count("top_n", self.top_n)


def k_reciprocal(
    queries: FeatureArray,
    gallery: FeatureArray,
    *,
    k1: int,
    k2: int,
    lambda_value: float,
    metric: str = "cosine",
    k: int | None = None,
    memory_mb: int = 1024,
    form: str = "fast-reid",
    top_n: int | None = None,
) -> Ranking:
    """Re-rank the gallery for each query by the overlap of their k-reciprocal neighbors.

    Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017), in the form of
    fast-reid's evaluator. All sets are computed over queries and gallery together:

    1. The set of a drawing contains those of its k1 nearest drawings (including itself) that also have it among their
       k1 nearest.
    2. The set is extended by the sets (of the round(k1/2)+1 nearest) of those members whose set overlaps it by more
       than two thirds.
    3. Members are weighted by softmax(-|x - y|^2), on unit rows for the cosine. The weights of a drawing are then
       averaged over its k2 nearest drawings.
    4. With S, the sum over members of the smaller weight, the Jaccard distance is 1 - S / (2 - S). The final distance
       is (1 - lambda_value) * Jaccard + lambda_value * distance.

    The form of the paper counts k1 neighbors in addition to the drawing itself. It divides each row's distances by the
    largest one of the row, in the weights and in the final distance.

    Args:
        queries: floats (Q, D).
        gallery: floats (G, D).
        k1: number of nearest drawings that must be reciprocal, including the drawing itself, at least 1.
        k2: number of nearest drawings whose weights are averaged, at most k1; 1 disables averaging.
        lambda_value: weight of the original distance in the final one, 0..1.
        metric: "cosine" or "euclidean" (squared), for the neighbors and the original distance.
        k: number of columns of the ranking; None: all re-ranked drawings (Q x G values for the whole gallery).
        memory_mb: working memory in MiB, in addition to the features, the sparse sets and the result.
        form: "fast-reid", or "paper", which needs one more pass over all pairs.
        top_n: re-rank only the top_n nearest of plain search, which skips the other distances; None: all.

    Raises:
        InputError: as for `nearest`; k2 above k1; lambda_value outside 0..1; an unknown form; k above top_n; the metric
            "inner_product".
        NumericalError: a row contains NaN or Inf, or is all zero.
    """
    space = build_metric_space(queries, gallery, metric)
    settings = RerankSettings(k1=k1, k2=k2, lambda_value=lambda_value, form=form, top_n=top_n)
    k = check_count("k", (top_n or len(space.gallery)) if k is None else k)
    return KReciprocalDistances(space, settings, memory_mb=memory_mb).topk(k)


class KReciprocalDistances(DistanceSource):
    """The distances of `k_reciprocal`; the sets are computed once and serve any number of passes.

    Args:
        space: queries, gallery and metric.
        settings: settings of the re-ranking.
        memory_mb: working memory in MiB, in addition to the features and the sparse sets.
        precision: precision of the neighbor search, as for `nearest`.

    Raises:
        InputError: the metric is not a distance.
    """

    def __init__(self, space: MetricSpace, settings: RerankSettings, *, memory_mb: int, precision: str = "auto"):
        if space.squared_l2_factor is None:
            raise InputError(DISTANCE_REQUIRED)
        self.space, self.settings, self.memory_mb, self.precision = space, settings, memory_mb, precision
        self.is_comparable = settings.top_n is None
        rows = torch.cat([to_tensor(space.queries), to_tensor(space.gallery)])
        joint_space = type(space)(rows, rows)
        self._max_distances = _max_distances(joint_space, memory_mb=memory_mb) if settings.form == "paper" else None
        weights = _compute_weights(joint_space, settings, self._max_distances, memory_mb=memory_mb, precision=precision)
        self._query_weights = weights[: len(space.queries)]
        self._gallery_weights = weights[len(space.queries) :].tocsc()

    def blocks(self, rows: Tensor | None = None) -> Iterator[DistanceBlock]:
        """Yield distance blocks; with top_n set, re-ranked items get the distance rank - top_n.

        This distance is negative, so they sort before all others.
        """
        for part, original in iter_distance_blocks(self.space, memory_mb=self.memory_mb, rows=rows):
            distances = self._mix_distances(part, original, self._jaccard_distances(part))
            if self.settings.top_n is not None:
                columns = torch.arange(original.shape[1], device=original.device)
                _, top = topk_by_distance(original, columns, self.settings.top_n)
                _, top = topk_by_distance(distances.gather(1, top), top, top.shape[1])
                ranks = torch.arange(top.shape[1], device=original.device, dtype=original.dtype)
                distances = original.scatter(1, top, (ranks - top.shape[1]).expand_as(top))
            yield part, distances

    def topk(self, k: int) -> Ranking:
        """Return the k nearest gallery rows of each query.

        Raises:
            InputError: k exceeds top_n.
        """
        top_n = self.settings.top_n
        if top_n is None:
            return topk_of_blocks(self.blocks(), k)
        if k > top_n:
            raise InputError(f"k must be at most top_n (TEST.RERANK.TOP_N) {top_n}, not {k}")
        original = find_neighbors(self.space, top_n, memory_mb=self.memory_mb, precision=self.precision)
        parts = []
        for part in torch.split(torch.arange(len(original.indices), device=original.indices.device), _CHUNK_QUERIES):
            indices = original.indices[part]
            jaccard = self._jaccard_distances(part).to(indices.device).gather(1, indices)
            parts.append(topk_by_distance(self._mix_distances(part, original.distances[part], jaccard), indices, k))
        return Ranking(torch.cat([rows for _, rows in parts]), torch.cat([distances for distances, _ in parts]))

    def with_lambda(self, lambda_value: float) -> "KReciprocalDistances":
        """Return distances with the same sets and another weight of the original distance."""
        other = copy.copy(self)
        other.settings = replace(self.settings, lambda_value=lambda_value)
        return other

    def _mix_distances(self, queries: Tensor, original: Tensor, jaccard: Tensor) -> Tensor:
        """Return the weighted sum of both distances, (B, n)."""
        weight = self.settings.lambda_value
        if self._max_distances is not None:
            original = original / self._max_distances[queries.cpu(), None].to(original)
        return (original * weight).add_(jaccard.to(original), alpha=1 - weight)

    def _jaccard_distances(self, queries: Tensor) -> Tensor:
        """Return the Jaccard distances of some queries to the whole gallery, float32 (B, G)."""
        rows = [_jaccard_row(self._query_weights, self._gallery_weights, row) for row in queries.tolist()]
        return torch.from_numpy(np.stack(rows))


def _max_distances(space: MetricSpace, *, memory_mb: int) -> Tensor:
    """Return the largest distance of each row, float64 (N,), above 0."""
    largest = torch.empty(len(space.queries), dtype=torch.float64)
    for part, distances in iter_distance_blocks(space, memory_mb=memory_mb):
        largest[part.cpu()] = distances.amax(dim=1).double().cpu()
    return largest.clamp(min=torch.finfo(torch.float32).tiny)


def _compute_weights(
    space: MetricSpace, settings: RerankSettings, max_distances: Tensor | None, *, memory_mb: int, precision: str
) -> sparse.csr_array:
    """Return each drawing's weights of the members of its extended set, sparse (N, N); rows sum to 1."""
    k1, k2 = settings.k1, settings.k2
    k = k1 if max_distances is None else k1 + 1
    indices = find_neighbors(space, k, memory_mb=memory_mb, precision=precision).indices
    neighbors = self_first(indices, torch.arange(len(indices), device=indices.device)).cpu().numpy()
    sets = _reciprocal_sets(neighbors)
    half_sets = _reciprocal_sets(neighbors[:, : round(k1 / 2) + 1])
    extended = _extend_sets(sets, half_sets)
    weights = _softmax_weights(space, extended, max_distances)
    if k2 > 1:
        nearest_k2 = _indicator_matrix(neighbors[:, :k2])
        weights = (nearest_k2 @ weights) / min(k2, neighbors.shape[1])
    return weights


def _indicator_matrix(columns: NDArray[np.int64]) -> sparse.csr_array:
    """Return a sparse matrix (N, N) with 1 in the given columns of each row."""
    num, width = columns.shape
    pointers = np.arange(0, num * width + 1, width)
    return sparse.csr_array((np.ones(num * width), columns.ravel(), pointers), shape=(num, num))


def _reciprocal_sets(neighbors: NDArray[np.int64]) -> sparse.csr_array:
    """Return a sparse matrix (N, N) with 1 where two drawings are neighbors of each other."""
    is_neighbor = _indicator_matrix(neighbors)
    return is_neighbor.multiply(is_neighbor.T).tocsr()


def _extend_sets(sets: sparse.csr_array, half_sets: sparse.csr_array) -> sparse.csr_array:
    """Extend each set by the half sets of those members whose half set overlaps it by more than two thirds."""
    parts = []
    for start in range(0, sets.shape[0], _CHUNK_ROWS):
        part = sets[start : start + _CHUNK_ROWS]
        overlap = (part @ half_sets.T).multiply(part).tocoo()
        is_added = 3 * overlap.data > 2 * np.diff(half_sets.indptr)[overlap.col]
        added = sparse.csr_array(
            (overlap.data[is_added], (overlap.row[is_added], overlap.col[is_added])), shape=part.shape
        )
        parts.append(part + added @ half_sets)
    return sparse.vstack(parts, format="csr")


def _softmax_weights(space: MetricSpace, sets: sparse.csr_array, max_distances: Tensor | None) -> sparse.csr_array:
    """Return softmax(-squared distance) over each set; with `max_distances`, of the distance relative to them.

    On unit rows the squared distance is twice the cosine distance; a relative distance does not depend on this factor.
    """
    pairs = sets.tocoo()
    device = space.queries.device
    left, right = (torch.from_numpy(part.astype(np.int64)).to(device) for part in (pairs.row, pairs.col))
    distances = space.pair_distances(left, right).double().cpu()
    if max_distances is None:
        exponents = (distances * (space.squared_l2_factor or 1)).numpy()
    else:
        exponents = (distances / max_distances[left.cpu()]).numpy()
    # Every set contains the drawing itself, at distance 0, so every sum is at least 1.
    powers = sparse.csr_array((np.exp(-exponents), (pairs.row, pairs.col)), shape=sets.shape)
    return powers.multiply(1 / powers.sum(axis=1)[:, None]).tocsr()


def _jaccard_row(query_weights: sparse.csr_array, gallery_weights: sparse.csc_array, row: int) -> NDArray[np.float32]:
    """Return the Jaccard distances of one query to every gallery drawing, float32 (G,)."""
    entries = slice(query_weights.indptr[row], query_weights.indptr[row + 1])
    columns, weights = query_weights.indices[entries], query_weights.data[entries]
    starts = gallery_weights.indptr[columns]
    counts = gallery_weights.indptr[columns + 1] - starts
    # The positions of the entries of these columns in `gallery_weights`, column by column.
    positions: NDArray[Any] = np.arange(counts.sum())
    positions = positions + np.repeat(starts - np.concatenate([[0], counts[:-1].cumsum()]), counts)
    smaller = np.minimum(np.repeat(weights, counts), gallery_weights.data[positions])
    common = np.bincount(gallery_weights.indices[positions], weights=smaller, minlength=gallery_weights.shape[0])
    return (1 - common / (2 - common)).clip(min=0).astype(np.float32)
