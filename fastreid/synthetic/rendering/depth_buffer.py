"""What is nearest at each point of the picture: a z-buffer, filled for all triangles at once."""

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.mesh import Faces
from fastreid.synthetic.geometry.outlines import Points

BACKGROUND = -1e9
SLACK_PX = 0.01  # px a triangle reaches beyond its sides, so that neighbours leave no crack between them

Counts = NDArray[np.int64]


def render_depth(corners: Points, faces: Faces, *, width: int, height: int) -> NDArray[np.float32]:
    """float32 (height, width): the largest nearness at each pixel's middle, NOTHING where there is no face.

    Args:
        corners: float64 (V, 3): x and y in pixels, and nearness, which must be straight in the picture.
        faces: int64 (F, 3), turned either way.
    """
    triangles = corners[faces]
    rows, triangle = _covered_rows(triangles, height)
    left, right = _row_spans(triangles, rows, triangle)
    first = np.clip(np.ceil(left - SLACK_PX - 0.5), 0, width - 1)
    last = np.clip(np.floor(right + SLACK_PX - 0.5), -1, width - 1)
    some = last >= first
    rows, triangle, first, last = rows[some], triangle[some], first[some], last[some]
    start, step = _interpolate_depth(triangles, rows, triangle, first, last)
    counts = (last - first).astype(np.int64) + 1
    along = concatenated_ranges(counts)
    spot = np.repeat(rows * width + first.astype(np.int64), counts) + along
    value = np.repeat(start, counts) + np.repeat(step, counts) * along.astype(np.float32)
    nearest = np.full(height * width, BACKGROUND, dtype=np.float32)
    np.maximum.at(nearest, spot, value)
    return nearest.reshape(height, width)


def concatenated_ranges(counts: Counts) -> Counts:
    """0..c-1 for each count c, one after another: `ramp([2, 3])` is `[0, 1, 0, 1, 2]`."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _min_max(values: Points) -> tuple[Points, Points]:
    """The least and the largest of each row of (F, 3); several times as fast as reducing so short an axis."""
    one, two, three = values.T
    return np.minimum(np.minimum(one, two), three), np.maximum(np.maximum(one, two), three)


def _covered_rows(triangles: Points, height: int) -> tuple[Counts, Counts]:
    """Every pixel row each triangle touches: row numbers, and the triangle each belongs to."""
    low, high = _min_max(triangles[:, :, 1])
    top = np.clip(np.ceil(low - SLACK_PX - 0.5), 0, height - 1).astype(np.int64)
    bottom = np.clip(np.floor(high + SLACK_PX - 0.5), -1, height - 1).astype(np.int64)
    counts = np.maximum(bottom - top + 1, 0)
    triangle = np.repeat(np.arange(len(triangles)), counts)
    return top[triangle] + concatenated_ranges(counts), triangle


def _row_spans(triangles: Points, rows: Counts, triangle: Counts) -> tuple[Points, Points]:
    """Where each row enters and leaves its triangle, in x."""
    top, bottom = _min_max(triangles[:, :, 1])
    middle = np.clip(rows + 0.5, top[triangle], bottom[triangle])
    left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        start, end = triangles[:, a], triangles[:, b]
        rise = end[:, 1] - start[:, 1]
        level = rise == 0
        slope = (end[:, 0] - start[:, 0]) / np.where(level, 1.0, rise)
        x = start[triangle, 0] + slope[triangle] * (middle - start[triangle, 1])
        low, high = np.minimum(start[:, 1], end[:, 1])[triangle], np.maximum(start[:, 1], end[:, 1])[triangle]
        crosses = (middle >= low) & (middle <= high) & ~level[triangle]
        left = np.where(crosses, np.minimum(left, x), left)
        right = np.where(crosses, np.maximum(right, x), right)
    return left, right


def _interpolate_depth(
    triangles: Points, rows: Counts, triangle: Counts, first: Points, last: Points
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Nearness at the first pixel of each row, and its step per pixel.

    Both ends are held within the triangle's own range: seen edge-on its plane is so steep that a hundredth of a pixel
    beyond its side would lie far in front of the object.
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
