"""How many drawings the values of a column have, of all or of those that are similar to a query."""

from collections import Counter
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.index.backends.base import Backend
from fastreid.index.columns import VECTOR, Value
from fastreid.index.filters import Filter
from fastreid.index.search import make_score


def count_drawings(backend: Backend, column: str, node: Filter | None, *, without: Collection[str]) -> Counter[Value]:
    """Return the number of drawings of each value of a column.

    Args:
        backend: the table.
        column: the column.
        node: only drawings that fulfill this filter.
        without: ids of drawings that do not count.
    """
    rows = (row for block in backend.scan(list({"id", column}), node) for row in block)
    return Counter(row[column] for row in rows if row["id"] not in without)


def count_similar_drawings(
    backend: Backend, column: str, node: Filter | None, *, without: Collection[str], queries: Tensor, min_score: float
) -> Counter[Value]:
    """Return the number of drawings of each value of a column that a search with a smallest score finds.

    Args:
        backend: the table.
        column: the column.
        node: only drawings that fulfill this filter.
        without: ids of drawings that do not count.
        queries: float32 (n, D); a drawing counts if its score for one of them is large enough.
        min_score: smallest score.
    """
    counts = Counter[Value]()
    for block in backend.scan(list({"id", column, VECTOR}), node):
        vectors = torch.from_numpy(np.stack([row[VECTOR] for row in block]))
        distances = CosineSpace(queries, vectors).distances(torch.arange(len(queries)), slice(0, len(block)))
        nearest = distances.amin(dim=0).tolist()
        counts.update(
            row[column]
            for row, distance in zip(block, nearest, strict=True)
            if make_score(distance) >= min_score and row["id"] not in without
        )
    return counts
