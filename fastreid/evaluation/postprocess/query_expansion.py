"""Query expansion (AQE) and database augmentation (DBA): move features towards their nearest neighbors."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.evaluation.features import FeatureArray, as_features, check_compatible, check_count, to_tensor
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.search.nearest import find_neighbors, self_first
from fastreid.utils.errors import InputError

_CHUNK_ROWS = 1024  # rows averaged at a time


@dataclass(frozen=True)
class ExpansionSettings:
    """Settings of `expand`, which explains them.

    Args:
        k: number of drawings to average, at least 1.
        alpha: power of the cosine, at least 0.
        times: number of repetitions.
        queries_too: expand the queries.
        gallery_too: expand the gallery.

    Raises:
        InputError: a value is outside its range, or neither side is expanded.
    """

    k: int
    alpha: float
    times: int = 1
    queries_too: bool = True
    gallery_too: bool = True

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_count("times", self.times)
        if not (isinstance(self.alpha, (int, float)) and math.isfinite(self.alpha) and self.alpha >= 0):
            raise InputError(f"alpha must be a number of at least 0, not {self.alpha!r}")
        if not (self.queries_too or self.gallery_too):
            raise InputError("nothing to expand: set queries_too, gallery_too or both")


def expand(
    queries: FeatureArray,
    gallery: FeatureArray,
    *,
    k: int,
    alpha: float,
    times: int = 1,
    queries_too: bool = True,
    gallery_too: bool = True,
    memory_mb: int = 1024,
    precision: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Apply alpha-weighted average query expansion to queries, gallery or both.

    A feature becomes (1/k) * sum of s^alpha * x over the k drawings x most similar to it among queries and gallery,
    including itself, where s is the cosine and x is not normalized. The norm of a feature therefore decreases if its
    neighbors are far, which the cosine ignores. A negative cosine counts as 0 (0^0 is 1). Source: Radenovic et al.,
    Fine-tuning CNN Image Retrieval with No Human Annotation (2019), section 3.2 (alpha-QE), with the sum divided by k
    as in fast-reid's evaluator.

    One search over all drawings serves both sides; if only one side is expanded, its neighbors are still
    searched among all drawings. The neighbors are exact for every memory budget: the drawing itself first, ties ordered
    by row (queries before gallery). In addition to `memory_mb`, memory is needed for the concatenated features and,
    during the computation, for the expanded ones; memory-mapped features are read into memory.

    Args:
        queries: floats (Q, D).
        gallery: floats (G, D).
        k: number of drawings to average, at least 1, including the drawing itself; at most Q + G are used.
        alpha: power of the cosine, at least 0; 0 gives the plain mean.
        times: number of repetitions; each one searches the neighbors among the features of the previous one.
        queries_too: expand the queries.
        gallery_too: expand the gallery.
        memory_mb: working memory in MiB.
        precision: precision of the candidate search, as for `nearest`; it does not affect the result.

    Returns:
        Queries (Q, D) and gallery (G, D), float32; a side that is not expanded is returned unchanged.

    Raises:
        InputError: features that differ in width, are empty or not floats; k, times or memory_mb below 1; alpha
            negative or not finite; neither side is expanded.
        NumericalError: a row contains NaN or Inf, or is all zero.
    """
    settings = ExpansionSettings(k=k, alpha=alpha, times=times, queries_too=queries_too, gallery_too=gallery_too)
    [sides] = iter_expansions(queries, gallery, [settings], memory_mb=memory_mb, precision=precision)
    return sides


def iter_expansions(
    queries: FeatureArray,
    gallery: FeatureArray,
    settings: Sequence[ExpansionSettings],
    *,
    memory_mb: int = 1024,
    precision: str = "auto",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the result of `expand` for each of the settings; they share the search of the first repetition."""
    queries, gallery = to_tensor(as_features(queries, "queries")), to_tensor(as_features(gallery, "the gallery"))
    check_compatible(queries, gallery)
    num_queries = len(queries)
    rows = torch.cat([queries, gallery])
    start = 0 if any(choice.queries_too for choice in settings) else num_queries
    stop = len(rows) if any(choice.gallery_too for choice in settings) else num_queries
    max_k = max((choice.k for choice in settings), default=1)
    shared = _NeighborTable(rows, slice(start, stop), max_k, memory_mb=memory_mb, precision=precision)
    for choice in settings:
        part = slice(0 if choice.queries_too else num_queries, len(rows) if choice.gallery_too else num_queries)
        expanded = shared.average(rows, part, k=choice.k, alpha=choice.alpha)
        for _ in range(choice.times - 1):
            table = _NeighborTable(expanded, part, choice.k, memory_mb=memory_mb, precision=precision)
            expanded = table.average(expanded, part, k=choice.k, alpha=choice.alpha)
        yield expanded[:num_queries], expanded[num_queries:]


class _NeighborTable:
    """The nearest neighbors of some rows among all rows; each row is its own first neighbor.

    Args:
        rows: float32 (N, D).
        chosen: rows whose neighbors are searched.
        k: number of neighbors.
        memory_mb: working memory in MiB.
        precision: precision of the candidate search, as for `nearest`.
    """

    def __init__(self, rows: Tensor, chosen: slice, k: int, *, memory_mb: int, precision: str):
        chosen_rows = rows[chosen]
        space = CosineSpace(rows if len(chosen_rows) == len(rows) else chosen_rows, rows)
        ranking = find_neighbors(space, k, memory_mb=memory_mb, precision=precision)
        self.start = chosen.start
        self.indices = self_first(ranking.indices, torch.arange(chosen.start, chosen.stop, device=rows.device))
        self.cosines = (1 - ranking.distances).clamp(min=0)

    def average(self, rows: Tensor, chosen: slice, *, k: int, alpha: float) -> Tensor:
        """Return all rows, float32 (N, D), with the chosen ones averaged over their k nearest neighbors."""
        lines = slice(chosen.start - self.start, chosen.stop - self.start)
        indices = self.indices[lines, :k]
        weights = self.cosines[lines, :k].pow(alpha) / indices.shape[1]
        expanded = rows.clone()
        expanded[chosen] = 0
        for part in torch.split(torch.arange(len(indices), device=rows.device), _CHUNK_ROWS):
            # One neighbor at a time, nearest first, so that the order of summation is the same in every block.
            for column in range(indices.shape[1]):
                expanded[chosen.start + part] += weights[part, column, None] * rows[indices[part, column]]
        return expanded
