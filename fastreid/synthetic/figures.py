"""Figures of a patent, and the figures on each of its drawings."""

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
# share of the 5,888 patents in DeepPatent's validation list with 2, 3, ..., 15, 16 or more drawings, in thousandths
DRAWINGS_PER_PATENT = (36, 50, 84, 121, 118, 130, 187, 113, 43, 31, 8, 15, 5, 18, 41)
NUM_FIGURES = 2 * (MAX_DRAWINGS - 1)


@dataclass(frozen=True)
class Figure:
    """Content of one figure.

    Args:
        view: view of the object.
        state: one of `states.STATES`.
        detail: center (x, y) and radius of the enlarged detail, as shares of the whole figure; None: no detail.
    """

    view: View
    state: str = "closed"
    detail: tuple[float, float, float] | None = None


def plan_figures(rng: PartRng, parts: Sequence[Mesh], *, closed_only: bool = False) -> list[Figure]:
    """Sample the figures of a patent: a perspective view, the sides, further views, some states and details.

    Args:
        rng: samples the figures.
        parts: parts of the object.
        closed_only: show only the whole closed object, without other states and details.
    """
    figures = [Figure(view) for view in plan_views(rng.next_part())]
    corner = figures[0].view
    probabilities = {
        "open": 0.6 if can_open(parts) else 0.0,
        "exploded": 0.15 if len(group_by_component(parts)) > 1 else 0.0,
        "section": 0.12,
        "in use": 0.15,
    }
    for state, probability in probabilities.items():
        if rng.random() < probability:
            view_of_state = View(*rng.choice([(0.0, 0.0), (25.0, 20.0)])) if state == "section" else corner
            figures.insert(int(rng.integers(1, 8)), Figure(view_of_state, state))
    if rng.random() < 0.2:
        x, y = rng.uniform(0.2, 0.8, size=2)
        enlarged = figures[int(rng.integers(0, 6))]
        figures.insert(int(rng.integers(2, 9)), Figure(enlarged.view, enlarged.state, (x, y, rng.uniform(0.12, 0.25))))
    if closed_only:
        figures = [figure for figure in figures if figure.state == "closed" and figure.detail is None]
    while len(figures) < NUM_FIGURES:
        extra_view = View(rng.uniform(-180, 180), rng.uniform(-50, 60), corner.distance)
        figures.append(Figure(extra_view))
    return figures[:NUM_FIGURES]


def plan_drawings(rng: PartRng) -> list[tuple[int, ...]]:
    """Sample the indices of the figures on each drawing; the first drawing repeats figures of the others."""
    first_drawing = (0, 1) if rng.random() < 0.15 else (0,) if rng.random() < 0.85 else (int(rng.integers(1, 3)),)
    drawings: list[tuple[int, ...]] = [first_drawing]
    next_figure = 0
    has_often_two = rng.random() < 0.25
    while len(drawings) < MAX_DRAWINGS:
        has_two = len(drawings) > 1 and rng.random() < (0.75 if has_often_two else 0.04)
        drawings.append((next_figure, next_figure + 1) if has_two else (next_figure,))
        next_figure += len(drawings[-1])
    return drawings


def sample_num_drawings(rng: np.random.Generator, *, min_drawings: int) -> int:
    """Sample the number of drawings of a patent from its distribution in DeepPatent, but not below `min_drawings`."""
    cumulative = np.cumsum(DRAWINGS_PER_PATENT) / sum(DRAWINGS_PER_PATENT)
    return max(min_drawings, MIN_DRAWINGS + int(np.searchsorted(cumulative, rng.random())))


def enlarge_detail(lines: Lines, detail: tuple[float, float, float]) -> Lines:
    """Return the part of a figure inside a circle, scaled to radius 1, and the circle as a thin line."""
    low, high = lines.segments.min(axis=(0, 1)), lines.segments.max(axis=(0, 1))
    center, radius = low + (high - low) * detail[:2], detail[2] * float((high - low).max())
    start, direction = lines.segments[:, 0] - center, lines.segments[:, 1] - lines.segments[:, 0]
    start_t, end_t = _clip_to_circle(start, direction, radius)
    is_inside = end_t > start_t
    start, direction, start_t, end_t = (
        start[is_inside],
        direction[is_inside],
        start_t[is_inside, None],
        end_t[is_inside, None],
    )
    inside = np.stack([start + start_t * direction, start + end_t * direction], axis=1) / radius
    outline = circle(1.0)
    frame = np.stack([outline, np.roll(outline, -1, axis=0)], axis=1)
    return Lines(
        np.concatenate([inside, frame]),
        np.concatenate([lines.edges[is_inside], np.full(len(frame), -1)]),
        np.concatenate([lines.line_types[is_inside], np.full(len(frame), FINE if len(inside) else OUTLINE)]),
    )


def _clip_to_circle(start: Points, direction: Points, radius: float) -> tuple[Points, Points]:
    """Clip segments to the circle around the origin.

    Returns:
        The parameters 0..1 where each segment enters and leaves the circle; the segment is outside if the second is not
        greater than the first.
    """
    a, b = np.maximum((direction * direction).sum(axis=1), 1e-12), (start * direction).sum(axis=1)
    discriminant = b * b - a * ((start * start).sum(axis=1) - radius * radius)
    half = np.sqrt(np.maximum(discriminant, 0))
    start_t, end_t = np.clip((-b - half) / a, 0, 1), np.clip((-b + half) / a, 0, 1)
    return start_t, np.where(discriminant > 0, end_t, start_t)
