"""At which place the right patent stands when patents are ranked instead of drawings: people search for patents.

A patent is as near as the nearest of its drawings ("best"), or as they are in the mean ("mean"); drawings that do not
count are left out, and a patent of which none counts is not there. The right answer of a query is one patent.
"""

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.scoring.ranks import entries
from fastreid.evaluation.search import order


class BestPlaces:
    """Ranks patents by their nearest drawing; equal ones by its row: the order in which they appear in a ranking.

    Args:
        patents: int64 (G,), the patent of each row of the gallery, 0 .. P - 1.
    """

    def __init__(self, patents: np.ndarray):
        self.patents, self.num_patents = torch.from_numpy(patents), int(patents.max()) + 1

    def __call__(self, distances: Tensor, matches: Tensor, dropped: Tensor) -> Tensor:
        """The place, from 1, of each query's patent; of a query without a match it means nothing.

        Args:
            distances: float32 (B, G), no NaN.
            matches: int64 (B, M) with M at least 1, as `places_by_torch` takes them.
            dropped: int64 (B, D), also.
        """
        there = matches >= 0
        values = distances.gather(1, matches.clamp(min=0))
        first = order.encode(values, matches.clamp(min=0)).masked_fill_(~there, torch.iinfo(torch.int64).max)
        column = first.argmin(dim=1, keepdim=True)
        nearest, row = values.gather(1, column), matches.gather(1, column)
        rows = torch.arange(distances.shape[1], device=distances.device)
        before = (distances < nearest) | ((distances == nearest) & (rows < row))
        before[entries(dropped)] = False
        reached = before.new_zeros(len(before), self.num_patents)
        queries, rows = before.nonzero(as_tuple=True)
        reached[queries, self.patents.to(rows.device)[rows]] = True
        return reached.sum(dim=1) + 1


class MeanPlaces:
    """Ranks patents by the mean distance of their drawings; equal ones by their first row.

    A mean is the float64 sum in the order of the rows, divided by how many there are: the same on every device.
    """

    def __init__(self, patents: np.ndarray):
        sizes = np.bincount(patents)
        by_size = np.argsort(-sizes, kind="stable")
        place = np.empty_like(by_size)
        place[by_size] = np.arange(len(by_size))
        rows = patents.argsort(kind="stable")
        turns = np.arange(len(rows)) - (sizes.cumsum() - sizes)[patents[rows]]  # 0 for a patent's first row, and so on
        # All first rows, then all second ones: patents with so many drawings are always the first of `by_size`.
        steps = rows[np.lexsort((place[patents[rows]], turns))]
        self.steps = torch.from_numpy(steps).split(np.bincount(turns).tolist())
        self.sizes, self.place = torch.from_numpy(sizes[by_size]), torch.from_numpy(place[patents])

    def __call__(self, distances: Tensor, matches: Tensor, dropped: Tensor) -> Tensor:
        """As of `BestPlaces`."""
        device = distances.device
        (queries, gone), place, first = entries(dropped), self.place.to(device), self.steps[0].to(device)
        columns = distances.T.clone(memory_format=torch.contiguous_format)  # (G, B): a drawing's distances lie together
        columns[gone, queries] = 0
        sums = torch.zeros(len(first), len(distances), dtype=torch.float64, device=device)
        for step in self.steps:
            sums[: len(step)] += columns[step.to(device)]
        sizes = self.sizes.to(device)[:, None].repeat(1, len(distances))
        sizes.index_put_((place[gone], queries), sizes.new_full((), -1), accumulate=True)
        means = sums / sizes  # NaN where no drawing counts, and that is nearer than nothing
        mine = place[matches[:, 0].clamp(min=0)]
        own = means[mine, torch.arange(len(mine), device=device)]
        before = (means < own) | ((means == own) & (first[:, None] < first[mine]))
        return before.sum(dim=0) + 1


PATENT_DISTANCES: dict[str, type[BestPlaces] | type[MeanPlaces]] = {"best": BestPlaces, "mean": MeanPlaces}
