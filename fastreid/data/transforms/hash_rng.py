"""Hash-based random numbers for whole batches: identical on every device and for any batch size."""

import torch
from torch import Tensor

NUM_SEEDS = 2**24  # a float32 represents all integers below exactly


def sample_seed() -> int:
    """Sample a seed for `hash_bits` from torch's default generator."""
    return int(torch.randint(NUM_SEEDS, ()))


def hash_bits(seeds: Tensor, *, salt: int, num: int) -> Tensor:
    """Return `num` random 32-bit integers per seed, int64 (B, num).

    Only integer arithmetic below 2 ** 63 is used, so the result cannot depend on a device's rounding.

    Args:
        seeds: (B,), integers below `NUM_SEEDS`.
        salt: selects an independent stream of the same seed.
        num: number of integers per seed.
    """
    state = _scramble(seeds.long() + NUM_SEEDS * salt)
    return _scramble((state[:, None] + torch.arange(num, device=seeds.device)) & 0xFFFFFFFF)


def _scramble(bits: Tensor) -> Tensor:
    """Hash 32-bit integers. Source: Chris Wellons, Hash Prospector, function "lowbias32", 2022."""
    bits = (bits ^ (bits >> 16)) * 0x21F0AAAD & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x735A2D97 & 0xFFFFFFFF
    return bits ^ (bits >> 15)


def to_unit_float(bits: Tensor) -> Tensor:
    """Convert 32-bit integers to float32 in the open interval (0, 1)."""
    return ((bits >> 9).float() + 0.5) / 2**23


def square_mask(
    rows: Tensor, columns: Tensor, half_side: Tensor, *, is_present: Tensor, height: int, width: int
) -> Tensor:
    """Return the mask of the pixels in any of N squares per page, bool (B, 1, height, width).

    Args:
        rows: (B, N), centers in px.
        columns: (B, N), centers in px.
        half_side: (B, N), half the side in px; below 1 the square is only the center pixel.
        is_present: bool (B, N), whether the square is used.
        height: px.
        width: px.
    """
    row_mask = _interval_mask(rows, half_side, height) & is_present[:, :, None]
    column_mask = _interval_mask(columns, half_side, width)
    # The products are small integers, so any float precision is exact.
    return torch.bmm(row_mask.float().transpose(1, 2), column_mask.float())[:, None] > 0.5


def _interval_mask(centers: Tensor, half_side: Tensor, size: int) -> Tensor:
    half_side = half_side[:, :, None].clamp(min=0.5)
    offset = torch.arange(size, device=centers.device) - centers.round()[:, :, None]
    return (-half_side <= offset) & (offset < half_side)
