"""Surface shading: contour lines, stippling or a continuous tone."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.geometry.solid import Solid
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, concatenated_ranges
from fastreid.synthetic.rendering.hidden_lines import DepthView, face_normals
from fastreid.synthetic.sampling import PartRng

LIGHT_DIRECTION = np.array(
    [-0.5, -0.6, 0.62]
)  # right, down, towards the viewer: from the upper left, as patent offices require
DARKNESS_LEVELS = np.array(
    [0.22, 0.68, 0.4, 0.54]
)  # each of four consecutive lines is drawn where the surface is darker than this
PIECE_LENGTH = 0.03  # in half diagonals; shading lines are drawn or omitted in pieces of this length


@dataclass(frozen=True)
class Shading:
    """Shading style of a patent.

    Args:
        kind: "none", "contour", "stipple" or "tone".
        plane_normal: float64 (3,), normal of the planes that cut the contour lines.
        spacing: distance of these planes, in half diagonals.
        coverage: share of the surface that is shaded, 0..1.
        waves: float64 (3, 3), frequencies and phases of the pattern of shaded regions.
        break_rates: float64 (3,), frequency of the gaps in contour lines, in radians per half diagonal.
        drawn_share: share of a contour line that is drawn within shaded regions, 0..1.
        clearance: distance between shading and outlines, in half diagonals.
        max_tone: darkest level of a tone, 0..1.
    """

    kind: str
    plane_normal: Points
    spacing: float
    coverage: float
    waves: Points
    break_rates: Points
    drawn_share: float
    clearance: float
    max_tone: float


def sample_shading(rng: PartRng) -> Shading:
    """Sample the shading style of a patent; kind is "none" for some."""
    kind = ("none", "contour", "stipple", "tone")[int(np.searchsorted([0.06, 0.82, 0.97, 1.0], rng.random()))]
    axis, direction = np.eye(3)[int(rng.integers(3))], rng.normal(size=3)
    plane_normal = axis if rng.random() < 0.5 else direction / np.linalg.norm(direction)
    return Shading(
        kind=kind,
        plane_normal=plane_normal,
        spacing=float(np.exp(rng.uniform(np.log(0.009), np.log(0.045)))),
        coverage=rng.uniform(0.15, 0.75),
        waves=rng.normal(scale=3.0, size=(3, 3)),
        break_rates=rng.normal(scale=rng.uniform(4.0, 20.0), size=3),
        drawn_share=rng.uniform(0.25, 0.9),
        clearance=rng.uniform(0.002, 0.02),
        max_tone=rng.uniform(0.2, 0.7),
    )


def disable_shading(shading: Shading) -> Shading:
    """Return a copy of the style with kind "none"."""
    return replace(shading, kind="none")


def compute_shading_lines(solid: Solid, depth_view: DepthView, shading: Shading, *, outlines: Points) -> Points:
    """Return contour lines or dots where the surface is dark, image segments (S, 2, 2); none for other kinds.

    Args:
        solid: the object.
        depth_view: its depth view.
        shading: shading style.
        outlines: image segments (S, 2, 2) that the shading keeps clear of.
    """
    if shading.kind not in ("contour", "stipple"):
        return np.zeros((0, 2, 2))
    normals, corners = face_normals(solid), solid.points[solid.faces[:, 0]]
    cosine = depth_view.view.compute_facing(normals, corners)
    darkness = 1 - np.clip((normals * np.sign(cosine)[:, None]) @ (depth_view.view.axes().T @ LIGHT_DIRECTION), 0, 1)
    visible = np.flatnonzero(np.abs(cosine) > 1e-3)
    triangles, darkness = solid.points[solid.faces[visible]], darkness[visible]
    ends = (
        _cut_contours(triangles, darkness, shading)
        if shading.kind == "contour"
        else _place_dots(triangles, darkness, shading)
    )
    return depth_view.mask_near(outlines, distance=shading.clearance).clip_hidden(
        ends[_is_shaded(ends.mean(axis=1), shading)]
    )[1]


def compute_tone(depth_view: DepthView, shading: Shading) -> NDArray[np.float32] | None:
    """Return the darkness of each pixel of the depth map, float32 (H, W), 0 outside; None unless the kind is "tone"."""
    if shading.kind != "tone":
        return None
    inside = depth_view.depth > BACKGROUND / 2
    depth = np.where(inside, depth_view.depth, depth_view.depth[inside].min())
    y_slope, x_slope = np.gradient(depth)
    brightness = (LIGHT_DIRECTION[2] - LIGHT_DIRECTION[0] * x_slope - LIGHT_DIRECTION[1] * y_slope) / np.sqrt(
        1 + x_slope**2 + y_slope**2
    )
    return np.where(inside, shading.max_tone * (1 - 0.85 * np.clip(brightness, 0, 1)), 0).astype(np.float32)


def _cut_contours(triangles: Points, darkness: Points, shading: Shading) -> Points:
    """Return the pieces (K, 2, 3) of the lines in which the planes cut the triangles that are dark enough."""
    heights = triangles @ shading.plane_normal / shading.spacing + 0.382
    first, second, third = heights.T
    low = np.ceil(np.minimum(np.minimum(first, second), third)).astype(np.int64)
    high = np.floor(np.maximum(np.maximum(first, second), third)).astype(np.int64)
    counts = np.maximum(high - low + 1, 0)
    owner = np.repeat(np.arange(len(triangles)), counts)
    plane = low[owner] + concatenated_ranges(counts)
    is_dark = darkness[owner] > DARKNESS_LEVELS[plane % 4]
    owner, plane = owner[is_dark], plane[is_dark]
    distances = heights[owner] - plane[:, None]
    next_distances = np.roll(distances, -1, axis=1)
    crosses = (distances >= 0) != (next_distances >= 0)
    keep = crosses.sum(axis=1) == 2
    owner, distances, next_distances, crosses = owner[keep], distances[keep], next_distances[keep], crosses[keep]
    t = np.where(crosses, distances, 0) / np.where(crosses, distances - next_distances, 1)
    corners = triangles[owner]
    points = corners + t[:, :, None] * (np.roll(corners, -1, axis=1) - corners)
    chosen = np.argsort(~crosses, axis=1, kind="stable")[:, :2]
    owner, pieces = _split_lines(np.take_along_axis(points, chosen[:, :, None], axis=1))
    phase = (
        pieces.mean(axis=1) @ shading.break_rates + 2.399963 * plane[keep][owner]
    )  # golden angle, so that adjacent lines differ
    drawn: Points = pieces[np.cos(phase) > np.cos(np.pi * shading.drawn_share)]
    return drawn


def _split_lines(ends: Points) -> tuple[NDArray[np.int64], Points]:
    """Split lines (K, 2, 3) into short pieces; return the line of each piece and the pieces."""
    direction = ends[:, 1] - ends[:, 0]
    counts = np.maximum(np.ceil(np.linalg.norm(direction, axis=1) / PIECE_LENGTH), 1).astype(np.int64)
    owner, step = np.repeat(np.arange(len(ends)), counts), concatenated_ranges(counts)[:, None]
    start = ends[owner, 0] + direction[owner] * (step / counts[owner][:, None])
    return owner, np.stack([start, start + direction[owner] / counts[owner][:, None]], axis=1)


def _place_dots(triangles: Points, darkness: Points, shading: Shading) -> Points:
    """Return dots (K, 2, 3), lines of length 0, spread over the triangles with a density that grows with darkness."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    expected = np.linalg.norm(normals, axis=1) / 2 * np.clip(darkness - 0.2, 0, 1) * 0.7 / shading.spacing**2
    cumulative = np.cumsum(expected)
    ends = np.floor(cumulative).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    owner = np.repeat(np.arange(len(triangles)), counts)
    index = np.arange(len(owner))
    u, v = (index * 0.7548776662) % 1, (index * 0.5698402910) % 1  # R2 sequence: even, without a visible pattern
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    corners = triangles[owner]
    dots = corners[:, 0] + u[:, None] * (corners[:, 1] - corners[:, 0]) + v[:, None] * (corners[:, 2] - corners[:, 0])
    return np.stack([dots, dots], axis=1)


def _is_shaded(points: Points, shading: Shading) -> NDArray[np.bool_]:
    """Return whether each point is shaded: waves in space, with a threshold for about `coverage` of it."""
    waves = np.sin(points @ shading.waves + shading.waves[0]).sum(axis=1)
    is_shaded: NDArray[np.bool_] = waves > 2.6 * (0.5 - shading.coverage)
    return is_shaded
