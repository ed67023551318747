"""Ranks of gallery rows, in torch or, for distances on the CPU, in Cython if it is compiled."""

from collections.abc import Callable

import torch
from torch import Tensor

from fastreid.evaluation.search.order import encode_keys
from fastreid.utils.logger import get_logger

RankFunction = Callable[[Tensor, Tensor, Tensor], Tensor]

_PADDING_KEY = torch.iinfo(torch.int64).max  # larger than the key of any distance and row


def compute_ranks(distances: Tensor, rows: Tensor, ignored: Tensor) -> Tensor:
    """Return the 1-based ranks of some gallery rows of each query, ordered by distance, ties by row.

    Args:
        distances: float32 (B, G), without NaN, on any device.
        rows: int64 (B, M), distinct gallery rows per query, padded with -1; on the same device.
        ignored: int64 (B, D), other rows, which are removed from the ranking; padded with -1.

    Returns:
        int64 (B, M) on that device: the ranks of each query, ascending, padded with 0.
    """
    keys = encode_keys(distances, torch.arange(distances.shape[1], device=distances.device))
    row_keys = torch.where(rows >= 0, keys.gather(1, rows.clamp(min=0)), _PADDING_KEY).sort(dim=1).values
    # Each gallery row falls into the bin of the first of `rows` that is not nearer, so the cumulative count of a bin is
    # the number of gallery rows up to that one: its rank.
    bins = torch.searchsorted(row_keys, keys)
    counts = bins.new_zeros(len(row_keys), row_keys.shape[1] + 1)
    one = counts.new_ones(1, 1)
    counts.scatter_add_(1, bins, one.expand(bins.shape))
    ignored_bins = bins.gather(1, ignored.clamp(min=0))
    counts.scatter_add_(1, ignored_bins, -(ignored >= 0).long())
    ranks = counts[:, :-1].cumsum(dim=1)
    return ranks.masked_fill_(row_keys == _PADDING_KEY, 0)


def list_entries(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the query index (within the batch) and the gallery row of each entry of rows (B, K) that is not padding.

    Both are int64 (n,).
    """
    queries, columns = (rows >= 0).nonzero(as_tuple=True)
    return queries, rows[queries, columns]


def choose_rank_function() -> RankFunction:
    """Return a function that computes the same ranks as `compute_ranks`, faster on the CPU if Cython is compiled."""
    try:
        from fastreid.evaluation.scoring.rank_cy import compute_ranks_of_block
    except ImportError:
        get_logger().debug("the Cython ranker is not compiled; ranking with torch, with the same results")
        return compute_ranks

    def compute_ranks_on_cpu(distances: Tensor, rows: Tensor, ignored: Tensor) -> Tensor:
        if distances.device.type != "cpu":
            return compute_ranks(distances, rows, ignored)
        block = (distances.contiguous(), rows.contiguous(), ignored.contiguous())
        return torch.from_numpy(compute_ranks_of_block(*(part.numpy() for part in block)))

    return compute_ranks_on_cpu
