"""Histograms of oriented gradients: features without learning, as a baseline for trained networks."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE_PX, CELL_PX, NUM_BINS = 96, 8, 9
_EPSILON = 1e-6


def hog_features(pages: Iterable[np.ndarray]) -> Tensor:
    """Compute histograms of oriented gradients.

    Pages are resized to 96 x 96 px. Cells of 8 px have nine unsigned directions; each gradient is split between the two
    nearest directions. Blocks of 2 x 2 cells are normalized by their L2 norm. Dalal and Triggs, "Histograms of Oriented
    Gradients for Human Detection", 2005.

    Args:
        pages: uint8 (H, W) each.

    Returns:
        Features, float32 (N, 4356).
    """
    return torch.from_numpy(np.stack([_normalize_blocks(_cell_histograms(page)) for page in pages]))


def _cell_histograms(page: np.ndarray) -> np.ndarray:
    small = Image.fromarray(page).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    gray = np.pad(np.asarray(small, dtype=np.float32) / 255, 1, mode="edge")
    grad_y, grad_x = gray[2:, 1:-1] - gray[:-2, 1:-1], gray[1:-1, 2:] - gray[1:-1, :-2]
    magnitude = np.hypot(grad_x, grad_y)
    position = np.arctan2(grad_y, grad_x) % np.pi * (NUM_BINS / np.pi)
    lower_bin = np.floor(position).astype(np.int64)
    num_cells = SIDE_PX // CELL_PX
    cell = np.arange(SIDE_PX) // CELL_PX
    cell_offset = (cell[:, None] * num_cells + cell[None]) * NUM_BINS
    weight = position - lower_bin
    size = num_cells * num_cells * NUM_BINS
    counts = np.bincount((cell_offset + lower_bin % NUM_BINS).ravel(), (magnitude * (1 - weight)).ravel(), size)
    counts += np.bincount((cell_offset + (lower_bin + 1) % NUM_BINS).ravel(), (magnitude * weight).ravel(), size)
    return counts.reshape(num_cells, num_cells, NUM_BINS)


def _normalize_blocks(cells: np.ndarray) -> np.ndarray:
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], axis=2)
    norms = np.linalg.norm(blocks, axis=2, keepdims=True)
    return np.asarray((blocks / (norms + _EPSILON)).ravel(), dtype=np.float32)
