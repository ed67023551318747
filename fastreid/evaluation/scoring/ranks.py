"""The inner step of scoring: at which places rows stand. In torch, or on the CPU in Cython where that was built."""

from collections.abc import Callable

import torch
from torch import Tensor

from fastreid.evaluation.search import order
from fastreid.utils.logger import get_logger

Ranker = Callable[[Tensor, Tensor, Tensor], Tensor]

_LAST = torch.iinfo(torch.int64).max  # a key that no distance and row have


def places_by_torch(distances: Tensor, rows: Tensor, dropped: Tensor) -> Tensor:
    """The places, from 1, of rows of each query when all rows that count are ordered by distance, equal ones by row.

    Args:
        distances: float32 (B, G), no NaN, on any device.
        rows: int64 (B, M), different rows of the gallery, filled up with -1; on that device.
        dropped: int64 (B, D), further rows, that do not count: nothing stands behind them; filled up with -1.

    Returns:
        int64 (B, M) on that device: for each query the places in rising order, filled up with 0.
    """
    keys = order.encode(distances, torch.arange(distances.shape[1], device=distances.device))
    mine = torch.where(rows >= 0, keys.gather(1, rows.clamp(min=0)), _LAST).sort(dim=1).values
    # Every row falls just before the first of mine that is not nearer; so the sums count what stands up to each.
    stretches = torch.searchsorted(mine, keys)
    counts = stretches.new_zeros(len(mine), mine.shape[1] + 1)
    one = counts.new_ones(1, 1)
    counts.scatter_add_(1, stretches, one.expand(stretches.shape))
    gone = stretches.gather(1, dropped.clamp(min=0))
    counts.scatter_add_(1, gone, -(dropped >= 0).long())
    places = counts[:, :-1].cumsum(dim=1)
    return places.masked_fill_(mine == _LAST, 0)


def entries(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The query (its row in the block) and the row of the gallery of every entry that is not the -1 of the filling."""
    queries, columns = (rows >= 0).nonzero(as_tuple=True)
    return queries, rows[queries, columns]


def choose_ranker() -> Ranker:
    """`places_by_torch`, or for distances on the CPU its twin in Cython if `setup.py` built it: the same places."""
    try:
        from fastreid.evaluation.scoring.rank_cy import places_of_block
    except ImportError:
        get_logger().debug("the Cython ranker is not built; scoring with torch, the numbers are the same")
        return places_by_torch

    def places(distances: Tensor, rows: Tensor, dropped: Tensor) -> Tensor:
        if distances.device.type != "cpu":
            return places_by_torch(distances, rows, dropped)
        block = (distances.contiguous(), rows.contiguous(), dropped.contiguous())
        return torch.from_numpy(places_of_block(*(part.numpy() for part in block)))

    return places
