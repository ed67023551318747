"""What sheets look like in numbers: ink, width of strokes, pieces, shape, drawings of a patent."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fastreid.data.transforms.page_layout import WHITE
from fastreid.structures import Drawing

MEASURES = ("ink", "stroke", "pieces", "aspect")
PALE = 224  # a level below it counts as ink of a piece, so that a thin line that was reduced to grey holds together


def measure_page(page: np.ndarray) -> dict[str, float]:
    """The measures of one page, uint8 (H, W), at the size it comes in.

    Returns:
        "ink": mean darkness, 0 white to 1 black. "stroke": px, twice the darkness over the sum of its steps from pixel
        to pixel, so the width of a line that is wider than a pixel. "pieces": 8-connected pieces of ink. "aspect":
        width over height.
    """
    dark = 1 - np.pad(page, 1, constant_values=WHITE).astype(np.float64) / WHITE
    steps = np.hypot(np.diff(dark, axis=0)[:, :-1], np.diff(dark, axis=1)[:-1]).sum()
    return {
        "ink": float(dark[1:-1, 1:-1].mean()),
        "stroke": float(2 * dark.sum() / steps) if steps else 0.0,
        "pieces": float(ndimage.label(page < PALE, np.ones((3, 3)))[1]),
        "aspect": page.shape[1] / page.shape[0],
    }


def drawings_per_patent(drawings: Sequence[Drawing]) -> list[int]:
    """How many drawings each patent of a list has, in order of the patents' words."""
    counts = Counter(drawing.patent for drawing in drawings)
    return [counts[word] for word in sorted(counts)]
