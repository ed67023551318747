"""Histograms of oriented gradients: what a search finds without learning, the mark that training has to pass."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE_PX, CELL_PX, NUM_BINS = 96, 8, 9
_TINY = 1e-6


def hog_features(pages: Iterable[np.ndarray]) -> Tensor:
    """float32 (N, 4356): pages squashed to 96 x 96 px, as histograms of cells of 8 px normalised in blocks of 2 x 2.

    Dalal and Triggs, "Histograms of oriented gradients for human detection" (2005): nine directions without sign, each
    gradient shared between the two nearest; L2 norm of each block.

    Args:
        pages: uint8 (H, W) each.
    """
    return torch.from_numpy(np.stack([_blocks(_histograms(page)) for page in pages]))


def _histograms(page: np.ndarray) -> np.ndarray:
    small = Image.fromarray(page).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    levels = np.pad(np.asarray(small, dtype=np.float32) / 255, 1, mode="edge")
    down, across = levels[2:, 1:-1] - levels[:-2, 1:-1], levels[1:-1, 2:] - levels[1:-1, :-2]
    size = np.hypot(across, down)
    place = np.arctan2(down, across) % np.pi * (NUM_BINS / np.pi)
    low = np.floor(place).astype(np.int64)
    num = SIDE_PX // CELL_PX
    cell = np.arange(SIDE_PX) // CELL_PX
    spot = (cell[:, None] * num + cell[None]) * NUM_BINS
    share = place - low
    counts = np.bincount((spot + low % NUM_BINS).ravel(), (size * (1 - share)).ravel(), num * num * NUM_BINS)
    counts += np.bincount((spot + (low + 1) % NUM_BINS).ravel(), (size * share).ravel(), num * num * NUM_BINS)
    return counts.reshape(num, num, NUM_BINS)


def _blocks(cells: np.ndarray) -> np.ndarray:
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    norms = np.linalg.norm(blocks, axis=2, keepdims=True)
    return (blocks / (norms + _TINY)).ravel().astype(np.float32)
