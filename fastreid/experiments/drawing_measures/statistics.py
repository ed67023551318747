"""Statistics of drawings: ink, stroke width, connected pieces, aspect ratio, drawings per patent."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fastreid.data.transforms.page_layout import WHITE
from fastreid.structures import Drawing

MEASURES = ("ink", "stroke width", "components", "width / height")
# Gray levels below it are ink of a piece, so that thin lines that became gray stay connected.
INK_THRESHOLD = 224


def measure_page(page: np.ndarray) -> dict[str, float]:
    """Measure one page, uint8 (H, W), at its own size.

    Returns:
        "ink": mean darkness, from 0 (white) to 1 (black). "stroke width": twice the total darkness divided by the sum
        of its gradients, in px, which is the width of lines wider than one pixel. "components": number of 8-connected
        components of ink. "width / height": width divided by height.
    """
    dark = 1 - np.pad(page, 1, constant_values=WHITE).astype(np.float64) / WHITE
    steps = np.hypot(np.diff(dark, axis=0)[:, :-1], np.diff(dark, axis=1)[:-1]).sum()
    return {
        "ink": float(dark[1:-1, 1:-1].mean()),
        "stroke width": float(2 * dark.sum() / steps) if steps else 0.0,
        "components": float(ndimage.label(page < INK_THRESHOLD, np.ones((3, 3)))[1]),
        "width / height": page.shape[1] / page.shape[0],
    }


def count_drawings_per_patent(drawings: Sequence[Drawing]) -> list[int]:
    """Return the number of drawings of each patent, in the order of the patents' names."""
    counts = Counter(drawing.patent for drawing in drawings)
    return [counts[patent] for patent in sorted(counts)]
