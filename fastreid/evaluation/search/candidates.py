"""Candidates for the nearest: of each block of products the few that can still be among a query's nearest.

What a product may be off its true value is bounded, for a query, by `slack + relative * |product|`. So of two products
further apart than twice that, the larger belongs to the nearer pair for certain, and the k-th largest product seen so
far sets a floor below which nothing can be among the k nearest. A block is compared with the floors strip by strip,
by each strip's largest product, and few strips are looked into.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.evaluation.features import slices

_STRIP = 32  # products a strip
_MANY = 0.2  # the share of strips above the floor from which on the whole block is sorted out at once

Candidates = tuple[Tensor, Tensor]  # of each query the largest products, descending, and their gallery rows: (Q, W)
Rows = Callable[[slice], Tensor]  # prepared rows of a stretch, (B, D)


@dataclass(frozen=True)
class Scan:
    """What is multiplied with what, and how far the products may be from the truth.

    Args:
        queries: gives the queries' prepared rows.
        gallery: gives the gallery's prepared rows.
        num_queries: Q.
        num_gallery: G.
        symmetric: queries and gallery are the same rows, so half the products serve for all.
        multiply: (B, D), (g, D) and room for the answer, (B, g), which it gives back.
        dtype: of the products.
        slack: float64 (Q,), the part of the bound that does not grow with the product.
        relative: the part that does, as a share of the product, above 0.
        block: rows a block has at most, of queries and of gallery.
    """

    queries: Rows
    gallery: Rows
    num_queries: int
    num_gallery: int
    symmetric: bool
    multiply: Callable[[Tensor, Tensor, Tensor], Tensor]
    dtype: torch.dtype
    slack: Tensor
    relative: float
    block: int

    def floors(self, rows: slice, values: Tensor) -> Tensor:
        """float32 (n,): for some queries, below which a product is farther than one of `values` for certain."""
        values = values.double()
        # The bound at the floor itself is a little wider than at the value, by less than the factor behind.
        error = (self.slack[rows] + self.relative * values.abs()) * (1 + 2 * self.relative)
        floors = (values - 2 * error).float()
        return floors.nextafter(torch.full_like(floors, -math.inf))

    def blocks(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Stretches of queries and gallery and their products; of a symmetric scan those on and above the diagonal."""
        room = torch.empty(0, dtype=self.dtype)
        for mine in slices(self.num_queries, self.block):
            left = self.queries(mine)
            if not len(room):
                room = left.new_empty(self.block * self.block, dtype=self.dtype)
            for theirs in slices(self.num_gallery, self.block):
                if self.symmetric and theirs.start < mine.start:
                    continue
                right = self.gallery(theirs)
                out = room[: len(left) * len(right)].view(len(left), len(right))
                yield mine, theirs, self.multiply(left, right, out)


def largest_products(scan: Scan, k: int, width: int) -> Candidates:
    """Of each query the largest products: all that can belong to its k nearest, unless they fill the width.

    Args:
        scan: what is gone through.
        k: how many nearest are wanted.
        width: products kept a query, more than k.
    """
    best = _Best(scan, k, width=width)
    for mine, theirs, block in scan.blocks():
        best.take(block, mine, first_row=theirs.start)
        if scan.symmetric and theirs != mine:
            best.take(block, theirs, first_row=mine.start, turned=True)
    return best.values, best.rows


class _Best:
    """The largest products of each query so far."""

    def __init__(self, scan: Scan, k: int, *, width: int):
        self.scan, self.k, self.width = scan, k, width
        size, device = (scan.num_queries, width), scan.slack.device
        self.values = torch.full(size, -math.inf, device=device)
        self.rows = torch.full(size, -1, dtype=torch.int64, device=device)
        self._floors = torch.full(size[:1], -math.inf, device=device)
        self._begun: set[int] = set()

    def take(self, block: Tensor, queries: slice, *, first_row: int, turned: bool = False) -> None:
        """Take in products: queries down and gallery rows, from `first_row` on, across; the other way if `turned`."""
        hits = _hits(block, self._floors[queries], turned=turned) if queries.start in self._begun else None
        self._begun.add(queries.start)
        if hits is None:
            values, rows = largest((block.T.contiguous() if turned else block).float(), self.width)
            chosen, rows = torch.arange(len(values), device=block.device), rows + first_row
        else:
            query, row, value = hits
            values, rows, chosen = _in_lines(query, row + first_row, value)
        if len(chosen):
            self._merge(chosen + queries.start, values, rows)
            self._floors[queries] = self.scan.floors(queries, self.values[queries, self.k - 1])

    def _merge(self, queries: Tensor, values: Tensor, rows: Tensor) -> None:
        both = torch.cat([self.rows[queries], rows], dim=1)
        self.values[queries], places = largest(torch.cat([self.values[queries], values], dim=1), self.width)
        self.rows[queries] = both.gather(1, places)


def largest(values: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The largest of each line, descending, and their places: (B, min(width, n)), twice."""
    found = values.topk(min(width, values.shape[1]), dim=1)
    return found.values, found.indices


def _hits(block: Tensor, floors: Tensor, *, turned: bool) -> tuple[Tensor, Tensor, Tensor] | None:
    """Query, gallery row and value of each product not below its query's floor, by query; None where they are many."""
    num = block.shape[0 if turned else 1]
    strip = _STRIP if num % _STRIP == 0 else 1
    if turned:  # a strip is neighbouring rows, (strips, strip, queries)
        strips = block.unflatten(0, (num // strip, strip))
        above = strips.amax(1) >= floors
    else:  # a strip is rows `num // strip` apart, (queries, strip, strips), whose largest are quickly found
        strips = block.unflatten(1, (strip, num // strip))
        above = strips.amax(1) >= floors[:, None]
    if int(above.sum()) > _MANY * above.numel():
        return None
    first, second = above.nonzero(as_tuple=True)
    query, place = (second, first) if turned else (first, second)
    values = strips[first, :, second]
    hit, lane = (values >= floors[query, None]).nonzero(as_tuple=True)
    rows = place[hit] * strip + lane if turned else lane * (num // strip) + place[hit]
    by_query = query[hit].argsort(stable=True)
    return query[hit][by_query], rows[by_query], values[hit, lane][by_query].float()


def _in_lines(queries: Tensor, rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hits, sorted by query, as lines of one query each: values, filled up with -inf, rows, and the lines' queries."""
    chosen, counts = queries.unique_consecutive(return_counts=True)
    line = torch.arange(len(chosen), device=queries.device).repeat_interleave(counts)
    place = torch.arange(len(queries), device=queries.device) - (counts.cumsum(0) - counts)[line]
    size = (len(chosen), int(counts.max()) if len(counts) else 0)
    lines = values.new_full(size, -math.inf), rows.new_full(size, -1)
    lines[0][line, place], lines[1][line, place] = values, rows
    return *lines, chosen
