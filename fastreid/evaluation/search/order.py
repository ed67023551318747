"""Sort order of a ranking: by distance, ties by gallery row."""

import torch
from torch import Tensor

_ROW_BITS = 32
_ROW_MASK = (1 << _ROW_BITS) - 1
_ALL_BUT_SIGN = 0x7FFFFFFF


def encode_keys(distances: Tensor, rows: Tensor) -> Tensor:
    """Return one int64 key per pair; keys sort by (distance, row), so no two keys of a query are equal.

    The bits of a float32, read as an integer, sort like the float once the bits of negative values, except the sign,
    are inverted.

    Args:
        distances: float32, any shape, without NaN; -0 equals 0.
        rows: int64 from 0 to 2^32 - 1, of that shape or one that broadcasts to it.
    """
    bits = (distances + 0.0).view(torch.int32)
    bits = bits ^ ((bits >> 31) & _ALL_BUT_SIGN)
    return (bits.long() << _ROW_BITS) | rows


def decode_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances (float32) and rows (int64) of keys made by `encode_keys`."""
    bits = (keys >> _ROW_BITS).int()
    bits = bits ^ ((bits >> 31) & _ALL_BUT_SIGN)
    return bits.view(torch.float32), keys & _ROW_MASK


def topk_by_distance(distances: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest pairs of each query in order, or all if there are fewer.

    Args:
        distances: float32 (B, n), without NaN.
        rows: int64 (B, n) or (n,), gallery rows.
        k: number of neighbors.

    Returns:
        Distances float32 and rows int64, both (B, min(k, n)).
    """
    keys = encode_keys(distances, rows)
    if k < keys.shape[1]:
        keys = keys.topk(k, dim=1, largest=False).values
    return decode_keys(keys.sort(dim=1).values)
