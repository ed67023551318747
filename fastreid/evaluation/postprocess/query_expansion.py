"""Expansion: a drawing's feature moves towards those of its nearest drawings (AQE for queries, DBA for a database)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.features import Features, as_features, check_count, check_fit, in_memory
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.search.nearest import neighbours, own_first
from fastreid.utils.errors import InputError

_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True)
class ExpansionSettings:
    """The choices of `expand`, refused when they are made and not hours later."""

    k: int
    alpha: float
    times: int = 1
    queries_too: bool = True
    gallery_too: bool = True

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_count("times", self.times)
        if not (isinstance(self.alpha, (int, float)) and math.isfinite(self.alpha) and self.alpha >= 0):
            raise InputError(f"alpha is a number of at least 0, not {self.alpha!r}")
        if not (self.queries_too or self.gallery_too):
            raise InputError("nothing to expand: set queries_too, gallery_too or both")


def expand(
    queries: Features | np.ndarray,
    gallery: Features | np.ndarray,
    *,
    k: int,
    alpha: float,
    times: int = 1,
    queries_too: bool = True,
    gallery_too: bool = True,
    memory_mb: int = 1024,
    precision: str = "auto",
) -> tuple[Tensor, Tensor]:
    """Average query expansion weighted by a power of the cosine, for queries, gallery or both.

    A feature becomes (1/k) * sum of s^alpha * x over the k drawings x most similar to it among queries and gallery,
    itself included, where s is the cosine and x is not normalised. So a feature's length also shrinks where its
    neighbours are far; the cosine does not see it. A negative cosine counts as 0 (0^0 is 1). Source: Radenovic et
    al., Fine-tuning CNN Image Retrieval with No Human Annotation (2019), section 3.2 (alpha-QE), with the sum divided
    by k as fast-reid's evaluator does.

    One search of all drawings among themselves serves both sides, and where only one side is expanded, its neighbours
    still come from all drawings. The neighbours are exact, whatever the memory budget: the drawing itself first, equal
    ones in order of their rows (queries before gallery). Beside `memory_mb` it holds the joined features and, while it
    works, the expanded ones; features in a mapped file are read into memory.

    Args:
        queries: floats (Q, D).
        gallery: floats (G, D).
        k: drawings to average, at least 1, the drawing itself among them; more than Q + G counts as Q + G.
        alpha: power of the cosine, at least 0; 0 gives the plain mean.
        times: how often; each time the neighbours are searched anew among the features as they then are.
        queries_too: expand the queries.
        gallery_too: expand the gallery.
        memory_mb: MiB to work in.
        precision: of the product that chooses candidates, as for `nearest`; it changes no bit.

    Returns:
        Queries (Q, D) and gallery (G, D), float32; the side that is not expanded as it came.

    Raises:
        InputError: features of other widths, empty or not floats; k, times or memory_mb below 1; alpha negative or
            not finite; neither side is to be expanded.
        NumericalError: a row is NaN, Inf or zero.
    """
    settings = ExpansionSettings(k=k, alpha=alpha, times=times, queries_too=queries_too, gallery_too=gallery_too)
    [sides] = expansions_of(queries, gallery, [settings], memory_mb=memory_mb, precision=precision)
    return sides


def expansions_of(
    queries: Features | np.ndarray,
    gallery: Features | np.ndarray,
    settings: Sequence[ExpansionSettings],
    *,
    memory_mb: int = 1024,
    precision: str = "auto",
) -> Iterator[tuple[Tensor, Tensor]]:
    """`expand` with each of some choices, one after the other; one search serves the first time of all of them."""
    queries, gallery = in_memory(as_features(queries, "queries")), in_memory(as_features(gallery, "the gallery"))
    check_fit(queries, gallery)
    num_queries = len(queries)
    rows = torch.cat([queries, gallery])
    start = 0 if any(choice.queries_too for choice in settings) else num_queries
    stop = len(rows) if any(choice.gallery_too for choice in settings) else num_queries
    most = max((choice.k for choice in settings), default=1)
    first = _Neighbours(rows, slice(start, stop), most, memory_mb=memory_mb, precision=precision)
    for choice in settings:
        part = slice(0 if choice.queries_too else num_queries, len(rows) if choice.gallery_too else num_queries)
        expanded = first.average(rows, part, k=choice.k, alpha=choice.alpha)
        for _ in range(choice.times - 1):
            found = _Neighbours(expanded, part, choice.k, memory_mb=memory_mb, precision=precision)
            expanded = found.average(expanded, part, k=choice.k, alpha=choice.alpha)
        yield expanded[:num_queries], expanded[num_queries:]


class _Neighbours:
    """The nearest of some rows among all rows, each row first among its own.

    Args:
        rows: float32 (N, D).
        chosen: whose neighbours are searched.
        k: how many.
        memory_mb: MiB to work in.
        precision: as for `nearest`.
    """

    def __init__(self, rows: Tensor, chosen: slice, k: int, *, memory_mb: int, precision: str):
        mine = rows[chosen]
        space = CosineSpace(rows if len(mine) == len(rows) else mine, rows)
        found = neighbours(space, k, memory_mb=memory_mb, precision=precision)
        self.start = chosen.start
        self.indices = own_first(found.indices, torch.arange(chosen.start, chosen.stop, device=rows.device))
        self.cosines = (1 - found.distances).clamp(min=0)

    def average(self, rows: Tensor, chosen: slice, *, k: int, alpha: float) -> Tensor:
        """All rows, the chosen ones among them expanded by their k nearest, float32 (N, D)."""
        mine = slice(chosen.start - self.start, chosen.stop - self.start)
        indices = self.indices[mine, :k]
        weights = self.cosines[mine, :k].pow(alpha) / indices.shape[1]
        expanded = rows.clone()
        expanded[chosen] = 0
        for part in torch.arange(len(indices), device=rows.device).split(_ROWS_AT_A_TIME):
            # Neighbour by neighbour, nearest first: the order of the sum is the same in every block.
            for column in range(indices.shape[1]):
                expanded[chosen.start + part] += weights[part, column, None] * rows[indices[part, column]]
        return expanded
