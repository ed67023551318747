"""Hidden-line drawing: which edges of an object a draughtsman draws, and how much of each is seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastreid.data.generated.depth import nearness_map, ramp
from fastreid.data.generated.outlines import Points
from fastreid.data.generated.solid import Solid
from fastreid.data.generated.views import View

SUBPIXEL = 4096  # corners are rounded to this part of a pixel, so that the last bit of a sine cannot move a line
BEHIND_PX = 1.5  # a line this far behind the nearest face, in pixels of the depth map, still lies on that face
SHORTEST_PX = 2.0  # shorter visible stretches of a longer edge are leaks at a corner, not lines
MARGIN_PX = 2


@dataclass(frozen=True)
class Lines:
    """What is seen of an object's edges, in half diagonals of the object: x to the right, y down.

    Args:
        segments: float64 (S, 2, 2).
        edges: int64 (S,), the edge of the solid each is a stretch of.
    """

    segments: Points
    edges: NDArray[np.int64]


def visible_lines(solid: Solid, view: View, *, depth_px: int = 480) -> Lines:
    """The creases, borders, seams and silhouettes of an object, without what its faces hide.

    Every face goes into a depth map. An edge is cut into steps of one pixel, and a step is seen where some pixel around
    it has nothing lying clearly before the step. Looking at the 3 x 3 pixels around makes silhouettes safe, for one of
    their sides is always free; it lets a hidden line show for one pixel beside the line that hides it, which the
    stroke covers.

    Args:
        depth_px: longest side of the depth map; more finds finer details.
    """
    seen = view.project(solid.points)
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    scale = depth_px / (high - low).max()
    corners = (seen - [*low, 0.0]) * scale + [MARGIN_PX, MARGIN_PX, 0.0]
    corners = np.round(corners * SUBPIXEL) / SUBPIXEL
    width, height = (np.ceil((high - low) * scale).astype(int) + 2 * MARGIN_PX + 1).tolist()
    nearest = _least_around(nearness_map(corners, solid.faces, width=width, height=height))
    drawn = np.flatnonzero(solid.sharp | _is_silhouette(solid, view))
    edge, start, end = _visible_stretches(corners[solid.edges[drawn]], nearest)
    segments = (np.stack([start, end], axis=1)[:, :, :2] - MARGIN_PX) / scale + low
    return Lines(segments, drawn[edge])


def _is_silhouette(solid: Solid, view: View) -> NDArray[np.bool_]:
    corners = solid.points[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    front = view.facing(normals, corners[:, 0]) > 1e-6
    return front[solid.sides[:, 0]] != front[solid.sides[:, 1]]


def _least_around(nearest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest value among each pixel and its eight neighbours."""
    for axis in (0, 1):
        padded = np.pad(nearest, [(1, 1) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        before, after = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
        nearest = np.minimum(nearest, np.minimum(before, after))
    return nearest


def _visible_stretches(ends: Points, nearest: NDArray[np.float32]) -> tuple[NDArray[np.int64], Points, Points]:
    """Stretches of edges (E, 2, 3) that lie on the nearest face: edge numbers, starts (S, 3) and ends (S, 3)."""
    way = ends[:, 1] - ends[:, 0]
    steps = np.maximum(np.ceil(np.hypot(way[:, 0], way[:, 1])), 1).astype(np.int64)
    edge, step = np.repeat(np.arange(len(ends)), steps), ramp(steps)
    middle = ends[edge, 0] + ((step + 0.5) / steps[edge])[:, None] * way[edge]
    column, row = middle[:, 0].astype(np.int64), middle[:, 1].astype(np.int64)
    seen = middle[:, 2] >= nearest[row, column] - BEHIND_PX
    opens = seen & ((step == 0) | ~np.roll(seen, 1))
    closes = seen & ((step == steps[edge] - 1) | ~np.roll(seen, -1))
    owner, first, last = edge[opens], step[opens], step[closes] + 1
    keep = (last - first > SHORTEST_PX) | (last - first == steps[owner])
    owner, first, last = owner[keep], first[keep], last[keep]
    start = ends[owner, 0] + (first / steps[owner])[:, None] * way[owner]
    end = ends[owner, 0] + (last / steps[owner])[:, None] * way[owner]
    return owner, start, end
