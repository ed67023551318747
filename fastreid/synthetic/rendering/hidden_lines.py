"""Hidden-line removal: the edges of an object to draw, and the visible part of each."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.geometry.solid import Solid
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, concatenated_ranges, render_depth
from fastreid.synthetic.rendering.views import View

SUBPIXELS = 4096  # coordinates are rounded to 1 / SUBPIXELS px, so that rounding errors of a sine cannot move a line
DEPTH_TOLERANCE_PX = 1.5  # a line at most this far behind the nearest face counts as lying on it
MIN_LENGTH_PX = 2.0  # shorter visible parts of a longer edge are leaks at a corner, not lines
MARGIN_PX = 2
# line types: outlines, broken lines, thin lines of shading and marks, creases inside the outlines
OUTLINE, DASHED, FINE, CREASE = 0, 1, 2, 3


@dataclass(frozen=True)
class Lines:
    """Visible line segments, in half diagonals of the object: x to the right, y down.

    Args:
        segments: float64 (S, 2, 2).
        edges: int64 (S,), the edge of the solid that each segment is part of; -1 for lines on faces.
        line_types: int64 (S,), OUTLINE, DASHED, FINE or CREASE.
    """

    segments: Points
    edges: NDArray[np.int64]
    line_types: NDArray[np.int64]


@dataclass(frozen=True)
class DepthView:
    """Depth map of an object seen from one side, for visibility tests.

    Args:
        view: view of the object.
        low: float64 (2,), upper left corner of the image, in half diagonals.
        scale: pixels of the depth map per half diagonal.
        depth: float32 (H, W), depth in pixels; it grows towards the viewer.
        min_depth: float32 (H, W), minimum of `depth` over 3 x 3 pixels.
    """

    view: View
    low: Points
    scale: float
    depth: NDArray[np.float32]
    min_depth: NDArray[np.float32]

    def clip_hidden(self, ends: Points) -> tuple[NDArray[np.int64], Points]:
        """Return the visible segments of lines in space.

        Args:
            ends: float64 (E, 2, 3), end points of the lines.

        Returns:
            The line of each visible segment, int64 (S,), and the segments (S, 2, 2), in half diagonals.
        """
        projected = self.view.project(ends.reshape(-1, 3))
        corners = _to_pixels(projected, self.low, self.scale)
        owner, start, end = _visible_spans(corners.reshape(-1, 2, 3), self.min_depth)
        return owner, (np.stack([start, end], axis=1)[:, :, :2] - MARGIN_PX) / self.scale + self.low

    def mask_near(self, segments: Points, *, distance: float) -> "DepthView":
        """Return a copy in which nothing within about `distance` of the given segments is visible.

        The image is divided into cells of that size; a cell is masked if a segment touches it or one of its neighbors.

        Args:
            segments: float64 (S, 2, 2), in half diagonals.
            distance: in half diagonals.
        """
        cell = max(round(distance * self.scale), 1)
        ends = ((segments - self.low) * self.scale + MARGIN_PX) / cell
        direction = ends[:, 1] - ends[:, 0]
        steps = np.ceil(2 * np.abs(direction).max(axis=1)).astype(np.int64) + 1
        owner = np.repeat(np.arange(len(ends)), steps)
        cells = (ends[owner, 0] + direction[owner] * (concatenated_ranges(steps) / steps[owner])[:, None]).astype(
            np.int64
        )
        height, width = self.min_depth.shape
        mask = np.full((height // cell + 3, width // cell + 3), BACKGROUND, dtype=np.float32)
        rows, columns = (np.clip(cells[:, axis] + 1, 0, mask.shape[1 - axis] - 1) for axis in (1, 0))
        mask[rows, columns] = -BACKGROUND
        mask = -_min_filter_3x3(-mask)[1:-1, 1:-1]
        pixel_mask = np.repeat(np.repeat(mask, cell, axis=0)[:height], cell, axis=1)[:, :width]
        return replace(self, min_depth=np.maximum(self.min_depth, pixel_mask))


def render_depth_view(solid: Solid, view: View, *, depth_px: int) -> DepthView:
    """Render all faces into a depth map whose longest side is `depth_px`; a larger map resolves finer details."""
    projected = view.project(solid.points)
    low, high = projected[:, :2].min(axis=0), projected[:, :2].max(axis=0)
    scale = depth_px / (high - low).max()
    corners = _to_pixels(projected, low, scale)
    width, height = (np.ceil((high - low) * scale).astype(int) + 2 * MARGIN_PX + 1).tolist()
    depth = render_depth(corners, solid.faces, width=width, height=height)
    return DepthView(view, low, float(scale), depth, _min_filter_3x3(depth))


def extract_visible_lines(solid: Solid, depth_view: DepthView) -> Lines:
    """Return the visible creases, borders, intersections, silhouettes and surface lines of an object.

    An edge is divided into steps of one pixel. A step is visible unless all 3 x 3 pixels around it are clearly in front
    of it. The 3 x 3 neighborhood keeps silhouettes visible, since one of their sides is always free; a hidden line may
    leak by one pixel next to the line that hides it, where the stroke covers it.
    """
    silhouette = _find_silhouettes(solid, depth_view.view)
    candidates = np.flatnonzero(solid.is_sharp | silhouette)
    owner, segments = depth_view.clip_hidden(
        np.concatenate([solid.points[solid.edges[candidates]], solid.surface_lines])
    )
    edges = np.concatenate([candidates, np.full(len(solid.surface_lines), -1)])[owner]
    line_types = np.where(silhouette, OUTLINE, CREASE)[edges]
    line_types = np.where(edges < 0, FINE, np.where(solid.is_dashed[edges], DASHED, line_types))
    return Lines(segments, edges, line_types)


def face_normals(solid: Solid) -> Points:
    """Return the unit normals of the faces, float64 (F, 3)."""
    corners = solid.points[solid.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit_normals: Points = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return unit_normals


def _to_pixels(projected: Points, low: Points, scale: float) -> Points:
    pixels = (projected - [*low, 0.0]) * scale + [MARGIN_PX, MARGIN_PX, 0.0]
    rounded: Points = np.round(pixels * SUBPIXELS) / SUBPIXELS
    return rounded


def _find_silhouettes(solid: Solid, view: View) -> NDArray[np.bool_]:
    is_front = view.compute_facing(face_normals(solid), solid.points[solid.faces[:, 0]]) > 1e-6
    is_silhouette: NDArray[np.bool_] = is_front[solid.edge_faces[:, 0]] != is_front[solid.edge_faces[:, 1]]
    return is_silhouette


def _min_filter_3x3(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the minimum of each pixel and its eight neighbors."""
    for axis in (0, 1):
        padded = np.pad(depth, [(1, 1) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        before, after = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
        depth = np.minimum(depth, np.minimum(before, after))
    return depth


def _visible_spans(ends: Points, depth: NDArray[np.float32]) -> tuple[NDArray[np.int64], Points, Points]:
    """Return the visible spans of edges (E, 2, 3): edge indices (S,), starts (S, 3) and ends (S, 3)."""
    direction = ends[:, 1] - ends[:, 0]
    steps = np.maximum(np.ceil(np.hypot(direction[:, 0], direction[:, 1])), 1).astype(np.int64)
    edge, step = np.repeat(np.arange(len(ends)), steps), concatenated_ranges(steps)
    center = ends[edge, 0] + ((step + 0.5) / steps[edge])[:, None] * direction[edge]
    height, width = depth.shape  # marks are slightly above the faces, so they may be outside the map
    column = np.clip(center[:, 0].astype(np.int64), 0, width - 1)
    row = np.clip(center[:, 1].astype(np.int64), 0, height - 1)
    is_visible = center[:, 2] >= depth[row, column] - DEPTH_TOLERANCE_PX
    is_start = is_visible & ((step == 0) | ~np.roll(is_visible, 1))
    is_end = is_visible & ((step == steps[edge] - 1) | ~np.roll(is_visible, -1))
    owner, first, last = edge[is_start], step[is_start], step[is_end] + 1
    keep = (last - first > MIN_LENGTH_PX) | (last - first == steps[owner])
    owner, first, last = owner[keep], first[keep], last[keep]
    start = ends[owner, 0] + (first / steps[owner])[:, None] * direction[owner]
    end = ends[owner, 0] + (last / steps[owner])[:, None] * direction[owner]
    return owner, start, end
