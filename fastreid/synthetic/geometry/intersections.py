"""The lines along which the parts of an object run into each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points

MIN_LENGTH = 1e-5  # seams shorter than this, in half diagonals of the object, are rounding
MIN_SINE = 1e-4  # sine of the angle below which two faces count as lying in one plane and share no line


def compute_intersections(parts: Sequence[Points]) -> Points:
    """Segments (S, 2, 3) where triangles of one part cut triangles of another.

    Args:
        parts: float64 (F, 3, 3) triangles of each part.
    """
    lows = np.array([part.min(axis=(0, 1)) for part in parts])
    highs = np.array([part.max(axis=(0, 1)) for part in parts])
    firsts, seconds = [np.zeros((0, 3, 3))], [np.zeros((0, 3, 3))]
    for one, other in np.argwhere(np.triu(_boxes_overlap(lows, highs, lows, highs), k=1)):
        low, high = np.maximum(lows[one], lows[other]), np.minimum(highs[one], highs[other])
        first, second = _select_in_box(parts[one], low, high), _select_in_box(parts[other], low, high)
        meet = _boxes_overlap(first.min(axis=1), first.max(axis=1), second.min(axis=1), second.max(axis=1))
        rows, columns = np.nonzero(meet)
        firsts.append(first[rows])
        seconds.append(second[columns])
    return _intersect_triangles(np.concatenate(firsts), np.concatenate(seconds))


def _boxes_overlap(low: Points, high: Points, other_low: Points, other_high: Points) -> NDArray[np.bool_]:
    """bool (N, M): whether box i of the first (N, 3) and box j of the others (M, 3) overlap."""
    meet = np.ones((len(low), len(other_low)), dtype=bool)
    for axis in range(3):
        meet &= low[:, None, axis] <= other_high[None, :, axis]
        meet &= high[:, None, axis] >= other_low[None, :, axis]
    return meet


def _select_in_box(triangles: Points, low: Points, high: Points) -> Points:
    inside = (triangles.min(axis=1) <= high).all(axis=1) & (triangles.max(axis=1) >= low).all(axis=1)
    return triangles[inside]


def _intersect_triangles(first: Points, second: Points) -> Points:
    """The segment each triangle (P, 3, 3) shares with its partner, pairs without one left out.

    Each triangle crosses the other's plane along a piece of the line both planes share; the segment is where the two
    pieces overlap (Moller, "A fast triangle-triangle intersection test", 1997).
    """
    for side in (0, 1):
        against = second if side == 0 else first
        heights = _signed_distances(first if side == 0 else second, against)
        keep = (heights >= 0).any(axis=1) & (heights < 0).any(axis=1)
        first, second = first[keep], second[keep]
    along = np.cross(_unit_normals(first), _unit_normals(second))
    sine = np.linalg.norm(along, axis=1)
    keep = sine > MIN_SINE
    first, second, along = first[keep], second[keep], along[keep] / sine[keep, None]
    start = _plane_crossings(first, _signed_distances(first, second))
    pieces = np.concatenate([start, _plane_crossings(second, _signed_distances(second, first))], axis=1)
    places = ((pieces - start[:, :1]) * along[:, None]).sum(axis=2)
    low = np.maximum(places[:, :2].min(axis=1), places[:, 2:].min(axis=1))
    high = np.minimum(places[:, :2].max(axis=1), places[:, 2:].max(axis=1))
    ends = start[:, :1] + np.stack([low, high], axis=1)[:, :, None] * along[:, None]
    return ends[high - low > MIN_LENGTH]


def _unit_normals(triangles: Points) -> Points:
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _signed_distances(triangles: Points, planes: Points) -> Points:
    """(P, 3): how far each corner lies above the plane of its partner triangle."""
    return ((triangles - planes[:, :1]) * _unit_normals(planes)[:, None]).sum(axis=2)


def _plane_crossings(triangles: Points, heights: Points) -> Points:
    """(P, 2, 3): the two points where a triangle's sides pass through height 0."""
    others, other_heights = np.roll(triangles, -1, axis=1), np.roll(heights, -1, axis=1)
    crosses = (heights >= 0) != (other_heights >= 0)
    share = np.where(crosses, heights, 0.0) / np.where(crosses, heights - other_heights, 1.0)
    points = triangles + share[:, :, None] * (others - triangles)
    picked = np.argsort(~crosses, axis=1, kind="stable")[:, :2]
    return np.take_along_axis(points, picked[:, :, None], axis=1)
