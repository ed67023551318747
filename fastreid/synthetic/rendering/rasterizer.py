"""From strokes of a pen to pixels."""

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.rendering.depth_buffer import concatenated_ranges

INK_THRESHOLD = 0.45  # share of a pixel a stroke must cover to blacken it; lines of one pixel stay whole

Ink = NDArray[np.bool_]
Coverage = NDArray[np.float32]


def supersampling_factor(longest_px: int) -> int:
    """How many times finer than the page the pen is drawn."""
    return 4 if longest_px <= 256 else 3 if longest_px <= 512 else 2 if longest_px <= 1024 else 1


def rasterize_strokes(segments: Points, stroke_px: float, *, size: tuple[int, int]) -> Coverage:
    """float32 (H, W), 0..1: how much of each pixel a round pen along segments (S, 2, 2), in pixels, covers.

    Args:
        segments: where the pen goes; its path is marked on a finer page and spread by the pen's disc.
        stroke_px: width of the pen; one thinner than a pixel draws paler.
        size: width and height of the page.
    """
    width, height = size
    finer = supersampling_factor(max(size))
    ends = np.clip(segments, 0, [width - 1e-3, height - 1e-3]) * finer
    way = ends[:, 1] - ends[:, 0]
    steps = np.ceil(np.abs(way).max(axis=1)).astype(np.int64) + 1
    owner = np.repeat(np.arange(len(ends)), steps)
    spots = (
        ends[owner, 0] + way[owner] * (concatenated_ranges(steps) / np.maximum(steps[owner] - 1, 1))[:, None]
    ).astype(np.int64)
    path = np.zeros((height * finer, width * finer), dtype=bool)
    path[spots[:, 1], spots[:, 0]] = True
    wide = stroke_px * finer
    inked = _dilate(path, max(wide, 1.0))
    counts = np.zeros((height, width), dtype=np.uint8)
    for row in range(finer):
        for column in range(finer):
            counts += inked[row::finer, column::finer]
    return counts * np.float32(min(wide, 1.0) / finer**2)


def _dilate(path: Ink, diameter: float) -> Ink:
    """Everything within half a diameter of the path; the disc of an even diameter leans half a pixel."""
    reach = int(np.ceil(diameter / 2))
    middle = 0.0 if round(diameter) % 2 else 0.5
    height, width = path.shape
    padded = np.pad(path, reach)
    inked = np.zeros_like(path)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            if (y + middle) ** 2 + (x + middle) ** 2 <= diameter * diameter / 4:
                inked |= padded[reach + y : reach + y + height, reach + x : reach + x + width]
    return inked
