"""Which figures a patent has, and which of them stand on which of its drawings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.geometry.outlines import Points, circle
from fastreid.synthetic.rendering.hidden_lines import FINE, OUTLINE, Lines
from fastreid.synthetic.rendering.views import View, plan_views
from fastreid.synthetic.sampling import PartRng
from fastreid.synthetic.states import can_open, group_by_component

MIN_DRAWINGS, MAX_DRAWINGS = 2, 16
# how many of 5,888 patents of DeepPatent's validation list have 2, 3, ... 16 and more drawings, in thousandths
DRAWINGS_PER_PATENT = (36, 50, 84, 121, 118, 130, 187, 113, 43, 31, 8, 15, 5, 18, 41)
NUM_FIGURES = 2 * (MAX_DRAWINGS - 1)


@dataclass(frozen=True)
class Figure:
    """What one figure shows.

    Args:
        view: where the object is seen from.
        state: one of `states.STATES`.
        detail: None, or the middle and radius of what is enlarged, in shares of the whole figure.
    """

    view: View
    state: str = "closed"
    detail: tuple[float, float, float] | None = None


def plan_figures(rng: PartRng, parts: Sequence[Mesh], *, closed_only: bool = False) -> list[Figure]:
    """The figures in order of their numbers: a corner, the sides and further corners, and now and then something else.

    `closed_only` leaves out what is not the whole object as it is: no other states and no details.
    """
    figures = [Figure(view) for view in plan_views(rng.next_part())]
    corner = figures[0].view
    chances = {
        "open": 0.6 if can_open(parts) else 0.0,
        "exploded": 0.15 if len(group_by_component(parts)) > 1 else 0.0,
        "section": 0.12,
        "in use": 0.15,
    }
    for state, share in chances.items():
        if rng.random() < share:
            seen = View(*rng.choice([(0.0, 0.0), (25.0, 20.0)])) if state == "section" else corner
            figures.insert(int(rng.integers(1, 8)), Figure(seen, state))
    if rng.random() < 0.2:
        x, y = rng.uniform(0.2, 0.8, size=2)
        whole = figures[int(rng.integers(0, 6))]
        figures.insert(int(rng.integers(2, 9)), Figure(whole.view, whole.state, (x, y, rng.uniform(0.12, 0.25))))
    if closed_only:
        figures = [figure for figure in figures if figure.state == "closed" and figure.detail is None]
    while len(figures) < NUM_FIGURES:
        turned = View(rng.uniform(-180, 180), rng.uniform(-50, 60), corner.distance)
        figures.append(Figure(turned))
    return figures[:NUM_FIGURES]


def plan_drawings(rng: PartRng) -> list[tuple[int, ...]]:
    """The figures on drawings D00000, D00001 and so on; D00000 shows figures that the others show too."""
    copied = (0, 1) if rng.random() < 0.15 else (0,) if rng.random() < 0.85 else (int(rng.integers(1, 3)),)
    drawings: list[tuple[int, ...]] = [copied]
    figure = 0
    often_two = rng.random() < 0.25
    while len(drawings) < MAX_DRAWINGS:
        two = len(drawings) > 1 and rng.random() < (0.75 if often_two else 0.04)
        drawings.append((figure, figure + 1) if two else (figure,))
        figure += len(drawings[-1])
    return drawings


def sample_num_drawings(rng: np.random.Generator, *, min_drawings: int) -> int:
    """How many drawings a patent has, as often as in DeepPatent; at least `min_drawings`."""
    shares = np.cumsum(DRAWINGS_PER_PATENT) / sum(DRAWINGS_PER_PATENT)
    return max(min_drawings, MIN_DRAWINGS + int(np.searchsorted(shares, rng.random())))


def enlarge_detail(lines: Lines, detail: tuple[float, float, float]) -> Lines:
    """What of a figure lies in a circle, three times as large, and the circle in a thin line."""
    low, high = lines.segments.min(axis=(0, 1)), lines.segments.max(axis=(0, 1))
    middle, radius = low + (high - low) * detail[:2], detail[2] * float((high - low).max())
    start, way = lines.segments[:, 0] - middle, lines.segments[:, 1] - lines.segments[:, 0]
    first, last = _clip_to_circle(start, way, radius)
    keep = last > first
    start, way, first, last = start[keep], way[keep], first[keep, None], last[keep, None]
    inside = np.stack([start + first * way, start + last * way], axis=1) / radius
    rim = circle(1.0)
    frame = np.stack([rim, np.roll(rim, -1, axis=0)], axis=1)
    return Lines(
        np.concatenate([inside, frame]),
        np.concatenate([lines.edges[keep], np.full(len(frame), -1)]),
        np.concatenate([lines.line_types[keep], np.full(len(frame), FINE if len(inside) else OUTLINE)]),
    )


def _clip_to_circle(start: Points, way: Points, radius: float) -> tuple[Points, Points]:
    """Between which shares of its length each segment lies in the circle about 0; the last below the first: nowhere."""
    a, b = np.maximum((way * way).sum(axis=1), 1e-12), (start * way).sum(axis=1)
    root = b * b - a * ((start * start).sum(axis=1) - radius * radius)
    half = np.sqrt(np.maximum(root, 0))
    first, last = np.clip((-b - half) / a, 0, 1), np.clip((-b + half) / a, 0, 1)
    return first, np.where(root > 0, last, first)
