"""Rank of the correct patent if patents are ranked instead of drawings.

The distance of a patent is that of its nearest drawing ("best") or the mean of its drawings ("mean"). Ignored drawings
are left out; a patent without any other drawing is not ranked. Each query has one correct patent.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.evaluation.scoring.ranks import list_entries
from fastreid.evaluation.search.order import encode_keys


class PatentRankByMin:
    """Ranks patents by their nearest drawing, ties by its row: the order in which they first appear in a ranking.

    Args:
        patents: int64 (G,), the patent of each gallery row, 0 .. P - 1.
    """

    def __init__(self, patents: NDArray[np.int64]):
        self.patents, self.num_patents = torch.from_numpy(patents), int(patents.max()) + 1

    def __call__(self, distances: Tensor, matches: Tensor, ignored: Tensor) -> Tensor:
        """Return the 1-based rank of each query's patent: int64 (B,), undefined for a query without a match.

        Args:
            distances: float32 (B, G), without NaN.
            matches: int64 (B, M) with M at least 1, relevant rows, padded with -1.
            ignored: int64 (B, D), ignored rows, padded with -1.
        """
        is_match = matches >= 0
        values = distances.gather(1, matches.clamp(min=0))
        keys = encode_keys(values, matches.clamp(min=0)).masked_fill_(~is_match, torch.iinfo(torch.int64).max)
        column = keys.argmin(dim=1, keepdim=True)
        nearest, row = values.gather(1, column), matches.gather(1, column)
        rows = torch.arange(distances.shape[1], device=distances.device)
        is_nearer = (distances < nearest) | ((distances == nearest) & (rows < row))
        is_nearer[list_entries(ignored)] = False
        has_nearer_drawing = is_nearer.new_zeros(len(is_nearer), self.num_patents)
        queries, rows = is_nearer.nonzero(as_tuple=True)
        has_nearer_drawing[queries, self.patents.to(rows.device)[rows]] = True
        return has_nearer_drawing.sum(dim=1) + 1


class PatentRankByMean:
    """Ranks patents by the mean distance of their drawings, ties by their first row.

    A mean is the float64 sum in row order, divided by the number of drawings, so it is the same on every device.

    Args:
        patents: int64 (G,), the patent of each gallery row, 0 .. P - 1.
    """

    def __init__(self, patents: NDArray[np.int64]):
        sizes = np.bincount(patents)
        by_size = np.argsort(-sizes, kind="stable")
        position = np.empty_like(by_size)
        position[by_size] = np.arange(len(by_size))
        rows = patents.argsort(kind="stable")
        index_in_patent = np.arange(len(rows)) - (sizes.cumsum() - sizes)[patents[rows]]
        # The first row of each patent, then all second rows, and so on: the patents that have an n-th drawing are
        # always the first ones of `by_size`.
        steps = rows[np.lexsort((position[patents[rows]], index_in_patent))]
        self.steps = torch.split(torch.from_numpy(steps), np.bincount(index_in_patent).tolist())
        self.sizes, self.position = torch.from_numpy(sizes[by_size]), torch.from_numpy(position[patents])

    def __call__(self, distances: Tensor, matches: Tensor, ignored: Tensor) -> Tensor:
        """Return the 1-based rank of each query's patent; arguments as in `PatentRankByMin`."""
        device = distances.device
        queries, rows = list_entries(ignored)
        position, first_rows = self.position.to(device), self.steps[0].to(device)
        columns = distances.T.clone(memory_format=torch.contiguous_format)  # (G, B), so a drawing is one memory block
        columns[rows, queries] = 0
        sums = torch.zeros(len(first_rows), len(distances), dtype=torch.float64, device=device)
        for step in self.steps:
            sums[: len(step)] += columns[step.to(device)]
        sizes = self.sizes.to(device)[:, None].repeat(1, len(distances))
        sizes.index_put_((position[rows], queries), sizes.new_full((), -1), accumulate=True)
        means = sums / sizes  # NaN if all its drawings are ignored: never nearer, as NaN < x is false
        correct = position[matches[:, 0].clamp(min=0)]
        correct_means = means[correct, torch.arange(len(correct), device=device)]
        is_nearer: Tensor = (means < correct_means) | (
            (means == correct_means) & (first_rows[:, None] < first_rows[correct])
        )
        return is_nearer.sum(dim=0) + 1


PATENT_DISTANCES: dict[str, type[PatentRankByMin] | type[PatentRankByMean]] = {
    "best": PatentRankByMin,
    "mean": PatentRankByMean,
}
