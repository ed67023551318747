"""Intersection lines between the parts of an object."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points

MIN_LENGTH = 1e-5  # in half diagonals of the object; shorter segments are rounding errors
MIN_SINE = 1e-4  # sine of the smallest angle between two faces that intersect; below it they count as coplanar


def compute_intersections(parts: Sequence[Points]) -> Points:
    """Return the segments (S, 2, 3) where triangles of one part intersect triangles of another part.

    Args:
        parts: triangles of each part, float64 (F, 3, 3).
    """
    lows = np.array([part.min(axis=(0, 1)) for part in parts])
    highs = np.array([part.max(axis=(0, 1)) for part in parts])
    firsts, seconds = [np.zeros((0, 3, 3))], [np.zeros((0, 3, 3))]
    for i, j in np.argwhere(np.triu(_boxes_overlap(lows, highs, lows, highs), k=1)):
        low, high = np.maximum(lows[i], lows[j]), np.minimum(highs[i], highs[j])
        first, second = _select_in_box(parts[i], low, high), _select_in_box(parts[j], low, high)
        overlap = _boxes_overlap(first.min(axis=1), first.max(axis=1), second.min(axis=1), second.max(axis=1))
        rows, columns = np.nonzero(overlap)
        firsts.append(first[rows])
        seconds.append(second[columns])
    return _intersect_triangles(np.concatenate(firsts), np.concatenate(seconds))


def _boxes_overlap(low: Points, high: Points, other_low: Points, other_high: Points) -> NDArray[np.bool_]:
    """Return for each pair of bounding boxes (N, 3) and (M, 3) whether they overlap, bool (N, M)."""
    overlap = np.ones((len(low), len(other_low)), dtype=bool)
    for axis in range(3):
        overlap &= low[:, None, axis] <= other_high[None, :, axis]
        overlap &= high[:, None, axis] >= other_low[None, :, axis]
    return overlap


def _select_in_box(triangles: Points, low: Points, high: Points) -> Points:
    """Return the triangles whose bounding boxes overlap the given one."""
    inside = (triangles.min(axis=1) <= high).all(axis=1) & (triangles.max(axis=1) >= low).all(axis=1)
    selected: Points = triangles[inside]
    return selected


def _intersect_triangles(first: Points, second: Points) -> Points:
    """Return the intersection segments (S, 2, 3) of pairs of triangles (P, 3, 3); pairs without one are omitted.

    Each triangle crosses the plane of the other along an interval of the line that both planes share. The segment is
    the overlap of the two intervals (Tomas Moller, "A Fast Triangle-Triangle Intersection Test", 1997).
    """
    for side in (0, 1):
        planes = second if side == 0 else first
        distances = _signed_distances(first if side == 0 else second, planes)
        keep = (distances >= 0).any(axis=1) & (distances < 0).any(axis=1)
        first, second = first[keep], second[keep]
    direction = np.cross(_unit_normals(first), _unit_normals(second))
    sine = np.linalg.norm(direction, axis=1)
    keep = sine > MIN_SINE
    first, second, direction = first[keep], second[keep], direction[keep] / sine[keep, None]
    start = _plane_crossings(first, _signed_distances(first, second))
    intervals = np.concatenate([start, _plane_crossings(second, _signed_distances(second, first))], axis=1)
    positions = ((intervals - start[:, :1]) * direction[:, None]).sum(axis=2)
    low = np.maximum(positions[:, :2].min(axis=1), positions[:, 2:].min(axis=1))
    high = np.minimum(positions[:, :2].max(axis=1), positions[:, 2:].max(axis=1))
    ends = start[:, :1] + np.stack([low, high], axis=1)[:, :, None] * direction[:, None]
    segments: Points = ends[high - low > MIN_LENGTH]
    return segments


def _unit_normals(triangles: Points) -> Points:
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    unit_normals: Points = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return unit_normals


def _signed_distances(triangles: Points, planes: Points) -> Points:
    """Return the signed distance of each corner to the plane of the other triangle of its pair, (P, 3)."""
    distances: Points = ((triangles - planes[:, :1]) * _unit_normals(planes)[:, None]).sum(axis=2)
    return distances


def _plane_crossings(triangles: Points, distances: Points) -> Points:
    """Return the two points where the sides of each triangle cross the plane, (P, 2, 3)."""
    next_corners, next_distances = np.roll(triangles, -1, axis=1), np.roll(distances, -1, axis=1)
    crosses = (distances >= 0) != (next_distances >= 0)
    share = np.where(crosses, distances, 0.0) / np.where(crosses, distances - next_distances, 1.0)
    points = triangles + share[:, :, None] * (next_corners - triangles)
    chosen = np.argsort(~crosses, axis=1, kind="stable")[:, :2]
    return np.take_along_axis(points, chosen[:, :, None], axis=1)
