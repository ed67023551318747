"""Rasterize strokes with a round pen and anti-aliasing."""

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.rendering.depth_buffer import concatenated_ranges

INK_THRESHOLD = 0.45  # covered share of a black pixel; lines of one pixel stay connected

Ink = NDArray[np.bool_]
Coverage = NDArray[np.float32]


def supersampling_factor(longest_px: int) -> int:
    """Return the supersampling factor for a page with the given longest side."""
    return 4 if longest_px <= 256 else 3 if longest_px <= 512 else 2 if longest_px <= 1024 else 1


def rasterize_strokes(segments: Points, stroke_px: float, *, size: tuple[int, int]) -> Coverage:
    """Return the share of each pixel that a round pen along segments covers, float32 (H, W), 0..1.

    The path is marked on a supersampled page and dilated by the disc of the pen.

    Args:
        segments: path of the pen, (S, 2, 2), in pixels.
        stroke_px: width of the pen; strokes thinner than a pixel are paler.
        size: width and height of the page.
    """
    width, height = size
    factor = supersampling_factor(max(size))
    ends = np.clip(segments, 0, [width - 1e-3, height - 1e-3]) * factor
    direction = ends[:, 1] - ends[:, 0]
    steps = np.ceil(np.abs(direction).max(axis=1)).astype(np.int64) + 1
    owner = np.repeat(np.arange(len(ends)), steps)
    pixels = (
        ends[owner, 0] + direction[owner] * (concatenated_ranges(steps) / np.maximum(steps[owner] - 1, 1))[:, None]
    ).astype(np.int64)
    path = np.zeros((height * factor, width * factor), dtype=bool)
    path[pixels[:, 1], pixels[:, 0]] = True
    stroke_width = stroke_px * factor
    is_inked = _dilate(path, max(stroke_width, 1.0))
    counts = np.zeros((height, width), dtype=np.uint8)
    for row in range(factor):
        for column in range(factor):
            counts += is_inked[row::factor, column::factor]
    return counts * np.float32(min(stroke_width, 1.0) / factor**2)


def _dilate(path: Ink, diameter: float) -> Ink:
    """Return the pixels within half a diameter of the path; a disc of even diameter is off center by half a pixel."""
    radius = int(np.ceil(diameter / 2))
    center = 0.0 if round(diameter) % 2 else 0.5
    height, width = path.shape
    padded = np.pad(path, radius)
    dilated = np.zeros_like(path)
    for y in range(-radius, radius + 1):
        for x in range(-radius, radius + 1):
            if (y + center) ** 2 + (x + center) ** 2 <= diameter * diameter / 4:
                dilated |= padded[radius + y : radius + y + height, radius + x : radius + x + width]
    return dilated
