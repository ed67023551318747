"""Exact search in memory: the vectors of a table as one matrix, read once per version of the table."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROUNDOFF = 2.0**-24  # of float32
_FLOATS_PER_BLOCK = 1 << 22


class VectorMatrix:
    """The vectors of a table, and a bound on the error of their float32 products.

    Args:
        vectors: float32 (N, D), without zero rows.
        row_ids: integers that name the rows in the table, (N,).
        ids: ids of the rows.
    """

    def __init__(self, vectors: Tensor, row_ids: NDArray[np.uint64], ids: Sequence[str]):
        self.vectors, self.row_ids, self.ids = vectors, row_ids, ids
        self._inverse_norms = torch.cat(
            [torch.empty(0), *((1 / block.double().norm(dim=1)).float() for block in _iter_blocks(vectors))]
        )
        self._order = np.argsort(row_ids)
        self._groups: dict[str, Tensor] = {}
        # Products of unit vectors: each has an error of at most this much, by Higham, Accuracy and Stability of
        # Numerical Algorithms (2002), section 3.1; the norms and their inverse add a few roundings.
        self.error_bound = (vectors.shape[1] + 16) * _ROUNDOFF

    def find_rows(self, row_ids: NDArray[np.uint64]) -> Tensor:
        """Return the positions of some row ids, int64, ascending."""
        positions = self._order[np.searchsorted(self.row_ids, row_ids, sorter=self._order)]
        return torch.from_numpy(np.sort(positions))

    def has_groups(self, column: str) -> bool:
        """Return whether the groups of a column are known."""
        return column in self._groups

    def set_groups(self, column: str, values: Sequence[Any]) -> None:
        """Store the value of each row in a column; each missing value is its own group."""
        codes: dict[Any, int] = {}
        numbers = [
            codes.setdefault(("missing", row) if value is None else value, len(codes))
            for row, value in enumerate(values)
        ]
        self._groups[column] = torch.tensor(numbers, dtype=torch.int64)

    def select_candidates(self, query: Tensor, num: int, *, rows: Tensor | None, distinct: str | None) -> Tensor:
        """Return the positions of rows that contain the nearest ones, int64 (n,).

        Args:
            query: float32 (D,).
            num: as for `Backend.find_candidates`.
            rows: positions to search among, int64, ascending; None: all.
            distinct: column whose groups are known.
        """
        unit = (query.double() / query.double().norm()).float()
        if rows is not None and 4 * len(rows) < len(self.vectors):  # gathering rows costs more than multiplying them
            products = torch.mv(self.vectors[rows], unit) * self._inverse_norms[rows]
        else:
            products = torch.mv(self.vectors, unit) * self._inverse_norms
            products = products if rows is None else products[rows]
        best = products
        if distinct is not None:
            groups = self._groups[distinct] if rows is None else self._groups[distinct][rows]
            best = torch.full((int(self._groups[distinct].max()) + 1 if len(groups) else 0,), -torch.inf)
            best = best.scatter_reduce(0, groups, products, "amax")
            best = best[best > -torch.inf]
        if num < len(best):
            threshold = best.topk(num, sorted=False).values.min() - 2 * self.error_bound
            near = (products >= threshold).nonzero().flatten()
        else:
            near = torch.arange(len(products))
        return near if rows is None else rows[near]


def _iter_blocks(vectors: Tensor) -> Iterator[Tensor]:
    step = max(1, _FLOATS_PER_BLOCK // vectors.shape[1])
    return (vectors[start : start + step] for start in range(0, len(vectors), step))
