"""The one order of a ranking: by distance, and equal distances by row."""

import torch
from torch import Tensor

_ROW_BITS = 32
_LOW_BITS = (1 << _ROW_BITS) - 1
_SIGNLESS = 0x7FFFFFFF


def encode(distances: Tensor, rows: Tensor) -> Tensor:
    """One int64 a pair that sorts as (distance, row) does, so that no two pairs of a query are equal.

    A float's bits sort as the float does once the other bits of the negative ones are turned over.

    Args:
        distances: float32, any shape, no NaN; -0 counts as 0.
        rows: int64, 0 to 2^32 - 1, of that shape or one that broadcasts to it.
    """
    bits = (distances + 0.0).view(torch.int32)
    bits = bits ^ ((bits >> 31) & _SIGNLESS)
    return (bits.long() << _ROW_BITS) | rows


def decode(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The distances and rows that `encode` was given."""
    bits = (keys >> _ROW_BITS).int()
    bits = bits ^ ((bits >> 31) & _SIGNLESS)
    return bits.view(torch.float32), keys & _LOW_BITS


def first(distances: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of each query in order, or all where there are fewer: distances float32 and rows int64 (B, k)."""
    keys = encode(distances, rows)
    if k < keys.shape[1]:
        keys = keys.topk(k, dim=1, largest=False).values
    return decode(keys.sort(dim=1).values)
