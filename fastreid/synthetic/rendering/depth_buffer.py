"""Depth buffer of a triangle mesh, rasterized for all triangles at once. Depth grows towards the viewer."""

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.mesh import Faces
from fastreid.synthetic.geometry.outlines import Points

BACKGROUND = -1e9  # depth of pixels without a face
SLACK_PX = 0.01  # every triangle is this much larger, so that there are no cracks between neighbors

Counts = NDArray[np.int64]


def render_depth(corners: Points, faces: Faces, *, width: int, height: int) -> NDArray[np.float32]:
    """Return the largest depth at each pixel center, float32 (height, width); BACKGROUND where there is no face.

    Args:
        corners: float64 (V, 3), x and y in pixels and a depth that is linear in image space.
        faces: int64 (F, 3), of any orientation.
        width: width of the buffer in pixels.
        height: height of the buffer in pixels.
    """
    triangles = corners[faces]
    rows, triangle = _covered_rows(triangles, height)
    left, right = _row_spans(triangles, rows, triangle)
    first = np.clip(np.ceil(left - SLACK_PX - 0.5), 0, width - 1)
    last = np.clip(np.floor(right + SLACK_PX - 0.5), -1, width - 1)
    is_covered = last >= first
    rows, triangle, first, last = rows[is_covered], triangle[is_covered], first[is_covered], last[is_covered]
    start, step = _interpolate_depth(triangles, rows, triangle, first, last)
    counts = (last - first).astype(np.int64) + 1
    offset = concatenated_ranges(counts)
    pixel = np.repeat(rows * width + first.astype(np.int64), counts) + offset
    depth = np.repeat(start, counts) + np.repeat(step, counts) * offset.astype(np.float32)
    buffer = np.full(height * width, BACKGROUND, dtype=np.float32)
    np.maximum.at(buffer, pixel, depth)
    return buffer.reshape(height, width)


def concatenated_ranges(counts: Counts) -> Counts:
    """Return 0..c-1 for each count c, concatenated: [2, 3] gives [0, 1, 0, 1, 2]."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _min_max(values: Points) -> tuple[Points, Points]:
    """Return the minimum and maximum of each row of (F, 3); several times faster than reducing such a short axis."""
    first, second, third = values.T
    return np.minimum(np.minimum(first, second), third), np.maximum(np.maximum(first, second), third)


def _covered_rows(triangles: Points, height: int) -> tuple[Counts, Counts]:
    """Return the pixel rows that each triangle covers and the index of the triangle of each row."""
    low, high = _min_max(triangles[:, :, 1])
    top = np.clip(np.ceil(low - SLACK_PX - 0.5), 0, height - 1).astype(np.int64)
    bottom = np.clip(np.floor(high + SLACK_PX - 0.5), -1, height - 1).astype(np.int64)
    counts = np.maximum(bottom - top + 1, 0)
    triangle = np.repeat(np.arange(len(triangles)), counts)
    return top[triangle] + concatenated_ranges(counts), triangle


def _row_spans(triangles: Points, rows: Counts, triangle: Counts) -> tuple[Points, Points]:
    """Return the x coordinates where each row enters and leaves its triangle."""
    top, bottom = _min_max(triangles[:, :, 1])
    center = np.clip(rows + 0.5, top[triangle], bottom[triangle])
    left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        start, end = triangles[:, a], triangles[:, b]
        rise = end[:, 1] - start[:, 1]
        is_horizontal = rise == 0
        slope = (end[:, 0] - start[:, 0]) / np.where(is_horizontal, 1.0, rise)
        x = start[triangle, 0] + slope[triangle] * (center - start[triangle, 1])
        low, high = np.minimum(start[:, 1], end[:, 1])[triangle], np.maximum(start[:, 1], end[:, 1])[triangle]
        crosses = (center >= low) & (center <= high) & ~is_horizontal[triangle]
        left = np.where(crosses, np.minimum(left, x), left)
        right = np.where(crosses, np.maximum(right, x), right)
    return left, right


def _interpolate_depth(
    triangles: Points, rows: Counts, triangle: Counts, first: Points, last: Points
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the depth at the first pixel of each row and the increment per pixel.

    Both ends are clipped to the depth range of the triangle: the plane of a triangle seen edge-on is so steep that
    0.01 px outside of the triangle would be far in front of the object.
    """
    origin = triangles[:, 0]
    (ax, ay, an), (bx, by, bn) = (triangles[:, 1] - origin).T, (triangles[:, 2] - origin).T
    area = ax * by - ay * bx
    safe = np.where(np.abs(area) < 1e-12, 1.0, area)
    per_x, per_y = (an * by - bn * ay) / safe, (bn * ax - an * bx) / safe
    low, high = _min_max(triangles[:, :, 2])
    base = origin[triangle, 2] + per_y[triangle] * (rows + 0.5 - origin[triangle, 1])
    ends = []
    for x in (first, last):
        value = base + per_x[triangle] * (x + 0.5 - origin[triangle, 0])
        ends.append(np.clip(value, low[triangle], high[triangle]))
    step = (ends[1] - ends[0]) / np.maximum(last - first, 1)
    return ends[0].astype(np.float32), step.astype(np.float32)
