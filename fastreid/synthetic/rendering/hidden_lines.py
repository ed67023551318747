"""Hidden-line drawing: which edges of an object a draughtsman draws, and how much of each is seen."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.geometry.solid import Solid
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, concatenated_ranges, render_depth
from fastreid.synthetic.rendering.views import View

SUBPIXELS = 4096  # corners are rounded to this part of a pixel, so that the last bit of a sine cannot move a line
DEPTH_TOLERANCE_PX = 1.5  # a line this far behind the nearest face, in pixels of the depth map, still lies on that face
MIN_LENGTH_PX = 2.0  # shorter visible stretches of a longer edge are leaks at a corner, not lines
MARGIN_PX = 2
# pens: outlines, broken lines, the thinner ones of shading and marks, and creases within the outlines
OUTLINE, DASHED, FINE, CREASE = 0, 1, 2, 3


@dataclass(frozen=True)
class Lines:
    """What is seen of an object's edges, in half diagonals of the object: x to the right, y down.

    Args:
        segments: float64 (S, 2, 2).
        edges: int64 (S,), the edge of the solid each is a stretch of; -1 where it lies on a face.
        pens: int64 (S,), SOLID, BROKEN, FINE or INNER.
    """

    segments: Points
    edges: NDArray[np.int64]
    line_types: NDArray[np.int64]


@dataclass(frozen=True)
class DepthView:
    """An object seen from one side: what is nearest where, so that what lies behind can be told.

    Args:
        view: where it is seen from.
        low: float64 (2,), the picture's upper left corner, in half diagonals.
        scale: pixels of the depth map to a half diagonal.
        depth: float32 (H, W), nearness in pixels.
        free: the same, the least of 3 x 3 pixels.
    """

    view: View
    low: Points
    scale: float
    depth: NDArray[np.float32]
    min_depth: NDArray[np.float32]

    def clip_hidden(self, ends: Points) -> tuple[NDArray[np.int64], Points]:
        """Of lines (E, 2, 3) in space those stretches that nothing hides: which line each is of, and (S, 2, 2)."""
        seen = self.view.project(ends.reshape(-1, 3))
        corners = _to_pixels(seen, self.low, self.scale)
        owner, start, end = _visible_spans(corners.reshape(-1, 2, 3), self.min_depth)
        return owner, (np.stack([start, end], axis=1)[:, :, :2] - MARGIN_PX) / self.scale + self.low

    def mask_near(self, segments: Points, *, distance: float) -> "DepthView":
        """The same sight where nothing is seen within about `distance` of segments (S, 2, 2), both in half diagonals.

        The picture is cut into cells of that size; a cell is barred if a segment touches it or one of its neighbours.
        """
        cell = max(round(distance * self.scale), 1)
        ends = ((segments - self.low) * self.scale + MARGIN_PX) / cell
        way = ends[:, 1] - ends[:, 0]
        steps = np.ceil(2 * np.abs(way).max(axis=1)).astype(np.int64) + 1
        owner = np.repeat(np.arange(len(ends)), steps)
        spots = (ends[owner, 0] + way[owner] * (concatenated_ranges(steps) / steps[owner])[:, None]).astype(np.int64)
        height, width = self.min_depth.shape
        barred = np.full((height // cell + 3, width // cell + 3), BACKGROUND, dtype=np.float32)
        rows, columns = (np.clip(spots[:, axis] + 1, 0, barred.shape[1 - axis] - 1) for axis in (1, 0))
        barred[rows, columns] = -BACKGROUND
        barred = -_min_filter_3x3(-barred)[1:-1, 1:-1]
        on_map = np.repeat(np.repeat(barred, cell, axis=0)[:height], cell, axis=1)[:, :width]
        return replace(self, min_depth=np.maximum(self.min_depth, on_map))


def render_depth_view(solid: Solid, view: View, *, depth_px: int) -> DepthView:
    """Put every face of the object into a depth map whose longest side is `depth_px`; more finds finer details."""
    seen = view.project(solid.points)
    low, high = seen[:, :2].min(axis=0), seen[:, :2].max(axis=0)
    scale = depth_px / (high - low).max()
    corners = _to_pixels(seen, low, scale)
    width, height = (np.ceil((high - low) * scale).astype(int) + 2 * MARGIN_PX + 1).tolist()
    depth = render_depth(corners, solid.faces, width=width, height=height)
    return DepthView(view, low, float(scale), depth, _min_filter_3x3(depth))


def extract_visible_lines(solid: Solid, sight: DepthView) -> Lines:
    """The creases, borders, seams, silhouettes and lines on faces of an object that are seen.

    An edge is cut into steps of one pixel, and a step is seen where some pixel around it has nothing lying clearly
    before the step. Looking at the 3 x 3 pixels around makes silhouettes safe, for one of their sides is always free;
    it lets a hidden line show for one pixel beside the line that hides it, which the stroke covers.
    """
    silhouette = _find_silhouettes(solid, sight.view)
    drawn = np.flatnonzero(solid.is_sharp | silhouette)
    owner, segments = sight.clip_hidden(np.concatenate([solid.points[solid.edges[drawn]], solid.surface_lines]))
    edges = np.concatenate([drawn, np.full(len(solid.surface_lines), -1)])[owner]
    pens = np.where(silhouette, OUTLINE, CREASE)[edges]
    pens = np.where(edges < 0, FINE, np.where(solid.is_dashed[edges], DASHED, pens))
    return Lines(segments, edges, pens)


def face_normals(solid: Solid) -> Points:
    """float64 (F, 3), the unit normals of the faces."""
    corners = solid.points[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _to_pixels(seen: Points, low: Points, scale: float) -> Points:
    corners = (seen - [*low, 0.0]) * scale + [MARGIN_PX, MARGIN_PX, 0.0]
    return np.round(corners * SUBPIXELS) / SUBPIXELS


def _find_silhouettes(solid: Solid, view: View) -> NDArray[np.bool_]:
    front = view.facing_cosine(face_normals(solid), solid.points[solid.faces[:, 0]]) > 1e-6
    return front[solid.edge_faces[:, 0]] != front[solid.edge_faces[:, 1]]


def _min_filter_3x3(nearest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest value among each pixel and its eight neighbours."""
    for axis in (0, 1):
        padded = np.pad(nearest, [(1, 1) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        before, after = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
        nearest = np.minimum(nearest, np.minimum(before, after))
    return nearest


def _visible_spans(ends: Points, nearest: NDArray[np.float32]) -> tuple[NDArray[np.int64], Points, Points]:
    """Stretches of edges (E, 2, 3) that lie on the nearest face: edge numbers, starts (S, 3) and ends (S, 3)."""
    way = ends[:, 1] - ends[:, 0]
    steps = np.maximum(np.ceil(np.hypot(way[:, 0], way[:, 1])), 1).astype(np.int64)
    edge, step = np.repeat(np.arange(len(ends)), steps), concatenated_ranges(steps)
    middle = ends[edge, 0] + ((step + 0.5) / steps[edge])[:, None] * way[edge]
    height, width = nearest.shape  # marks lie a little off the faces, so they may leave the map
    column = np.clip(middle[:, 0].astype(np.int64), 0, width - 1)
    row = np.clip(middle[:, 1].astype(np.int64), 0, height - 1)
    seen = middle[:, 2] >= nearest[row, column] - DEPTH_TOLERANCE_PX
    opens = seen & ((step == 0) | ~np.roll(seen, 1))
    closes = seen & ((step == steps[edge] - 1) | ~np.roll(seen, -1))
    owner, first, last = edge[opens], step[opens], step[closes] + 1
    keep = (last - first > MIN_LENGTH_PX) | (last - first == steps[owner])
    owner, first, last = owner[keep], first[keep], last[keep]
    start = ends[owner, 0] + (first / steps[owner])[:, None] * way[owner]
    end = ends[owner, 0] + (last / steps[owner])[:, None] * way[owner]
    return owner, start, end
