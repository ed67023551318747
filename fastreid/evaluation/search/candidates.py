"""Candidate search: from blocks of inner products, keep the few that can be among the k nearest of a query.

The error of a query's product is at most `error_bound + relative_error * |product|`. If two products differ by more
than twice that, the pair with the larger product is certainly nearer. The k-th largest product so far therefore gives a
threshold: no pair below it is among the k nearest. A block is compared with the thresholds strip by strip, using the
largest product of each strip, and only few strips are inspected further.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.evaluation.features import iter_slices

_STRIP_SIZE = 32  # products per strip
_MAX_STRIP_RATIO = 0.2  # above this share of strips over the threshold, the whole block is sorted at once

Candidates = tuple[Tensor, Tensor]  # the largest products of each query, descending, and their gallery rows: (Q, W)
RowLoader = Callable[[slice], Tensor]  # returns the prepared rows of a slice, (B, D)


@dataclass(frozen=True)
class Scan:
    """All products between queries and gallery, computed block by block, with their error bound.

    Args:
        queries: returns prepared query rows.
        gallery: returns prepared gallery rows.
        num_queries: Q.
        num_gallery: G.
        is_symmetric: queries and gallery are the same rows, so only half of the products are computed.
        multiply: takes (B, D), (g, D) and an output buffer (B, g), which it fills and returns.
        dtype: of the products.
        error_bound: float64 (Q,), the absolute part of the error bound of a query's products.
        relative_error: relative part of the error bound, above 0.
        block: maximum number of query rows and of gallery rows in a block.
    """

    queries: RowLoader
    gallery: RowLoader
    num_queries: int
    num_gallery: int
    is_symmetric: bool
    multiply: Callable[[Tensor, Tensor, Tensor], Tensor]
    dtype: torch.dtype
    error_bound: Tensor
    relative_error: float
    block: int

    def thresholds(self, rows: slice, values: Tensor) -> Tensor:
        """Return thresholds float32 (n,): a pair whose product is below is certainly farther than the pair of `values`.

        Args:
            rows: query rows.
            values: (n,), one product of each of these queries.
        """
        values = values.double()
        # At the threshold the bound is slightly larger than at the value, by less than this factor.
        error = (self.error_bound[rows] + self.relative_error * values.abs()) * (1 + 2 * self.relative_error)
        thresholds = (values - 2 * error).float()
        return thresholds.nextafter(torch.full_like(thresholds, -math.inf))

    def blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield query rows, gallery rows and their products; a symmetric scan skips blocks below the diagonal."""
        buffer = torch.empty(0, dtype=self.dtype)
        for query_rows in iter_slices(self.num_queries, self.block):
            left = self.queries(query_rows)
            if not len(buffer):
                buffer = left.new_empty(self.block * self.block, dtype=self.dtype)
            for gallery_rows in iter_slices(self.num_gallery, self.block):
                if self.is_symmetric and gallery_rows.start < query_rows.start:
                    continue
                right = self.gallery(gallery_rows)
                out = buffer[: len(left) * len(right)].view(len(left), len(right))
                yield query_rows, gallery_rows, self.multiply(left, right, out)


def topk_products(scan: Scan, k: int, width: int) -> Candidates:
    """Return the largest products of each query.

    They include all pairs that can be among the query's k nearest, unless more than `width` pairs can.

    Args:
        scan: the products.
        k: number of neighbors.
        width: products kept per query, more than k.
    """
    top = _TopProducts(scan, k, width=width)
    for query_rows, gallery_rows, block in scan.blocks():
        top.update(block, query_rows, first_row=gallery_rows.start)
        if scan.is_symmetric and gallery_rows != query_rows:
            top.update(block, gallery_rows, first_row=query_rows.start, is_transposed=True)
    return top.values, top.rows


class _TopProducts:
    """The largest products of each query so far."""

    def __init__(self, scan: Scan, k: int, *, width: int):
        self.scan, self.k, self.width = scan, k, width
        size, device = (scan.num_queries, width), scan.error_bound.device
        self.values = torch.full(size, -math.inf, device=device)
        self.rows = torch.full(size, -1, dtype=torch.int64, device=device)
        self._thresholds = torch.full(size[:1], -math.inf, device=device)
        self._started: set[int] = set()

    def update(self, block: Tensor, queries: slice, *, first_row: int, is_transposed: bool = False) -> None:
        """Add a block of products.

        Args:
            block: (queries, gallery rows), or (gallery rows, queries) if `is_transposed`.
            queries: the query rows.
            first_row: the block's first gallery row.
            is_transposed: the queries are the columns.
        """
        hits = None
        if queries.start in self._started:
            hits = _find_above(block, self._thresholds[queries], is_transposed=is_transposed)
        self._started.add(queries.start)
        if hits is None:
            values, rows = topk_per_row((block.T.contiguous() if is_transposed else block).float(), self.width)
            chosen, rows = torch.arange(len(values), device=block.device), rows + first_row
        else:
            query, row, value = hits
            values, rows, chosen = _pad_by_query(query, row + first_row, value)
        if len(chosen):
            self._merge(chosen + queries.start, values, rows)
            self._thresholds[queries] = self.scan.thresholds(queries, self.values[queries, self.k - 1])

    def _merge(self, queries: Tensor, values: Tensor, rows: Tensor) -> None:
        merged_rows = torch.cat([self.rows[queries], rows], dim=1)
        self.values[queries], columns = topk_per_row(torch.cat([self.values[queries], values], dim=1), self.width)
        self.rows[queries] = merged_rows.gather(1, columns)


def topk_per_row(values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the largest values of each row, descending, and their columns, both (B, min(width, n))."""
    top = values.topk(min(width, values.shape[1]), dim=1)
    return top.values, top.indices


def _find_above(block: Tensor, thresholds: Tensor, *, is_transposed: bool) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return query, gallery row and value of each product at or above its query's threshold, sorted by query.

    Returns None if there are many, so that sorting the whole block is cheaper.
    """
    num = block.shape[0 if is_transposed else 1]
    strip = _STRIP_SIZE if num % _STRIP_SIZE == 0 else 1
    if is_transposed:  # a strip is `strip` consecutive rows: (strips, strip, queries)
        strips = block.view(num // strip, strip, block.shape[1])
        is_above = strips.amax(1) >= thresholds
    else:  # a strip is rows `num // strip` apart, whose maxima are fast to compute: (queries, strip, strips)
        strips = block.view(block.shape[0], strip, num // strip)
        is_above = strips.amax(1) >= thresholds[:, None]
    if int(is_above.sum()) > _MAX_STRIP_RATIO * is_above.numel():
        return None
    first, second = is_above.nonzero(as_tuple=True)
    query, strip_index = (second, first) if is_transposed else (first, second)
    values = strips[first, :, second]
    hit, lane = (values >= thresholds[query, None]).nonzero(as_tuple=True)
    rows = strip_index[hit] * strip + lane if is_transposed else lane * (num // strip) + strip_index[hit]
    by_query = query[hit].argsort(stable=True)
    return query[hit][by_query], rows[by_query], values[hit, lane][by_query].float()


def _pad_by_query(queries: Tensor, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Arrange hits, sorted by query, in one line per query.

    Returns:
        Values padded with -inf and rows padded with -1, both (n, W), and the query of each line, (n,).
    """
    chosen, counts = torch.unique_consecutive(queries, return_counts=True)
    line = torch.arange(len(chosen), device=queries.device).repeat_interleave(counts)
    column = torch.arange(len(queries), device=queries.device) - (counts.cumsum(0) - counts)[line]
    size = (len(chosen), int(counts.max()) if len(counts) else 0)
    padded_values, padded_rows = values.new_full(size, -math.inf), rows.new_full(size, -1)
    padded_values[line, column], padded_rows[line, column] = values, rows
    return padded_values, padded_rows, chosen
