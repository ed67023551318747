"""Chance and shapes on whole batches, from numbers alone: the same on every device and in a batch of any size."""

import torch
from torch import Tensor

SEEDS = 2**24  # whole numbers below it travel in a float32


def drawn_seed() -> int:
    """A seed for `hashed`, drawn from torch's generator."""
    return int(torch.randint(SEEDS, ()))


def hashed(seeds: Tensor, *, salt: int, num: int) -> Tensor:
    """int64 (B, num): 32 random bits for each of the places 0..num-1, from each seed.

    Whole numbers only, and no product reaches 2 ** 63, so there is nothing a device could round otherwise.

    Args:
        seeds: (B,), whole numbers below `SEEDS`.
        salt: another one, other bits: for several uses of one seed.
        num: number of places.
    """
    mixed = _mixed(seeds.long() + SEEDS * salt)
    return _mixed((mixed[:, None] + torch.arange(num, device=seeds.device)) & 0xFFFFFFFF)


def _mixed(bits: Tensor) -> Tensor:
    """Each of the 32-bit numbers scattered. Source: Chris Wellons' hash prospector, "lowbias32" of 2022."""
    bits = (bits ^ (bits >> 16)) * 0x21F0AAAD & 0xFFFFFFFF
    bits = (bits ^ (bits >> 15)) * 0x735A2D97 & 0xFFFFFFFF
    return bits ^ (bits >> 15)


def shares(bits: Tensor) -> Tensor:
    """float32, above 0 and below 1, of 32-bit numbers."""
    return ((bits >> 9).float() + 0.5) / 2**23


def squares(rows: Tensor, columns: Tensor, half: Tensor, *, there: Tensor, height: int, width: int) -> Tensor:
    """bool (B, 1, height, width): the pixels that lie in one of N squares of a page.

    Args:
        rows: (B, N), the centres in px.
        columns: (B, N), likewise.
        half: (B, N), half the side in px; below 1 it is the pixel of the centre alone.
        there: bool (B, N); a square that is not there covers nothing.
        height: px.
        width: px.
    """
    high = _near(rows, half, height) & there[:, :, None]
    wide = _near(columns, half, width)
    return torch.bmm(high.float().transpose(1, 2), wide.float())[:, None] > 0.5  # small whole numbers: exact anyhow


def _near(centres: Tensor, half: Tensor, size: int) -> Tensor:
    half = half[:, :, None].clamp(min=0.5)
    away = torch.arange(size, device=centres.device) - centres.round()[:, :, None]
    return (-half <= away) & (away < half)
