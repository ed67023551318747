"""Find out whether drawings contain color, and whether they are dark."""

from collections.abc import Sequence

import numpy as np

from fastreid.data.io.image import read_header, read_image
from fastreid.structures import Drawing
from fastreid.utils.errors import FastreidError

MAX_SAMPLED_DRAWINGS = 64

_LONGEST_PX = 256  # of the pages that are searched
_DARK_LEVEL = 128  # of the brightest pixel: paper is 255
_MIN_CHROMA = 24  # largest minus smallest channel of a colored pixel; JPEG gives gray pixels up to a few levels
_MIN_COLORED = 0.001  # ratio of the pixels that are colored
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F")


def sample_drawings(drawings: Sequence[Drawing], *, max_num: int = MAX_SAMPLED_DRAWINGS) -> list[Drawing]:
    """Return up to `max_num` drawings that have a file, evenly spaced in the list."""
    files = [drawing for drawing in drawings if not drawing.is_synthetic]
    rows = np.linspace(0, len(files) - 1, min(len(files), max_num)).round().astype(int)
    return [files[row] for row in rows.tolist()]


def is_colored(drawing: Drawing, *, max_pixels: int) -> bool:
    """Return whether a drawing contains color; False if it cannot be read, which others report.

    Only the header is read if it states gray pixels.

    Args:
        drawing: an image file.
        max_pixels: as for `read_image`.
    """
    try:
        header = read_header(drawing.path, max_pixels=max_pixels)
        if header.format != "PDF" and (header.mode in _GRAY_MODES or header.mode.startswith("I;16")):
            return False
        page = read_image(drawing.path, color=True, max_pixels=max_pixels, longest_px=_LONGEST_PX)
    except FastreidError:
        return False
    chroma = page.max(axis=2) - page.min(axis=2)
    return bool((chroma >= _MIN_CHROMA).mean() >= _MIN_COLORED)


def is_dark(drawing: Drawing, *, max_pixels: int) -> bool:
    """Return whether no pixel of a drawing is brighter than half of paper; False if it cannot be read.

    Args:
        drawing: an image file.
        max_pixels: as for `read_image`.
    """
    try:
        return int(read_image(drawing.path, max_pixels=max_pixels, longest_px=_LONGEST_PX).max()) < _DARK_LEVEL
    except FastreidError:
        return False
