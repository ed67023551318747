"""Surface shading as draughtsmen do it: thin lines along the surface, dots, or a tone laid over the figure."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.geometry.solid import Solid
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, concatenated_ranges
from fastreid.synthetic.rendering.hidden_lines import DepthView, face_normals
from fastreid.synthetic.sampling import PartRng

LIGHT_DIRECTION = np.array([-0.5, -0.6, 0.62])  # right, down, towards the eye: from the upper left, as offices ask for
DARKNESS_LEVELS = np.array(
    [0.22, 0.68, 0.4, 0.54]
)  # how dark it must be for each of four neighbouring lines to be drawn
PIECE_LENGTH = 0.03  # half diagonals, the length at which a shading line may break off


@dataclass(frozen=True)
class Shading:
    """How a patent's surfaces are shaded.

    Args:
        kind: "none", "contour", "stipple" or "tone".
        across: float64 (3,), contour lines lie in planes square to it.
        spacing: between those planes, in half diagonals.
        amount: share of the surface that is shaded, 0..1.
        waves: float64 (3, 3), where on the surface shading comes and goes.
        breaks: float64 (3,), how fast a contour line comes and goes along its way, in radians a half diagonal.
        whole: share of their way that contour lines are drawn where there is shading, 0..1.
        apart: how far shading stays away from outlines, in half diagonals.
        ink: darkest level of a tone, 0..1.
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
    """The shading of one patent; some have none."""
    kind = ("none", "contour", "stipple", "tone")[int(np.searchsorted([0.06, 0.82, 0.97, 1.0], rng.random()))]
    upright, slanted = np.eye(3)[int(rng.integers(3))], rng.normal(size=3)
    across = upright if rng.random() < 0.5 else slanted / np.linalg.norm(slanted)
    return Shading(
        kind=kind,
        plane_normal=across,
        spacing=float(np.exp(rng.uniform(np.log(0.009), np.log(0.045)))),
        coverage=rng.uniform(0.15, 0.75),
        waves=rng.normal(scale=3.0, size=(3, 3)),
        break_rates=rng.normal(scale=rng.uniform(4.0, 20.0), size=3),
        drawn_share=rng.uniform(0.25, 0.9),
        clearance=rng.uniform(0.002, 0.02),
        max_tone=rng.uniform(0.2, 0.7),
    )


def disable_shading(shading: Shading) -> Shading:
    """The same hand that does not shade."""
    return replace(shading, kind="none")


def compute_shading_lines(solid: Solid, sight: DepthView, shading: Shading, *, outlines: Points) -> Points:
    """Segments (S, 2, 2) of the picture: contour lines or dots where the surface is dark; none for other kinds.

    They keep clear of `outlines`, segments of the picture.
    """
    if shading.kind not in ("contour", "stipple"):
        return np.zeros((0, 2, 2))
    normals, first = face_normals(solid), solid.points[solid.faces[:, 0]]
    facing = sight.view.facing_cosine(normals, first)
    dark = 1 - np.clip((normals * np.sign(facing)[:, None]) @ (sight.view.axes().T @ LIGHT_DIRECTION), 0, 1)
    front = np.flatnonzero(np.abs(facing) > 1e-3)
    triangles, dark = solid.points[solid.faces[front]], dark[front]
    ends = (
        _cut_contours(triangles, dark, shading) if shading.kind == "contour" else _place_dots(triangles, dark, shading)
    )
    return sight.mask_near(outlines, distance=shading.clearance).clip_hidden(
        ends[_is_shaded(ends.mean(axis=1), shading)]
    )[1]


def compute_tone(sight: DepthView, shading: Shading) -> NDArray[np.float32] | None:
    """float32 (H, W), how dark each pixel of the depth map is, 0 outside the figure; None unless the kind is a tone."""
    if shading.kind != "tone":
        return None
    inside = sight.depth > BACKGROUND / 2
    depth = np.where(inside, sight.depth, sight.depth[inside].min())
    down, across = np.gradient(depth)
    bright = (LIGHT_DIRECTION[2] - LIGHT_DIRECTION[0] * across - LIGHT_DIRECTION[1] * down) / np.sqrt(
        1 + across**2 + down**2
    )
    return np.where(inside, shading.max_tone * (1 - 0.85 * np.clip(bright, 0, 1)), 0).astype(np.float32)


def _cut_contours(triangles: Points, dark: Points, shading: Shading) -> Points:
    """Lines (K, 2, 3) in which planes cut the triangles, those that are dark enough, in pieces."""
    heights = triangles @ shading.plane_normal / shading.spacing + 0.382
    one, two, three = heights.T
    low = np.ceil(np.minimum(np.minimum(one, two), three)).astype(np.int64)
    high = np.floor(np.maximum(np.maximum(one, two), three)).astype(np.int64)
    counts = np.maximum(high - low + 1, 0)
    owner = np.repeat(np.arange(len(triangles)), counts)
    plane = low[owner] + concatenated_ranges(counts)
    drawn = dark[owner] > DARKNESS_LEVELS[plane % 4]
    owner, plane = owner[drawn], plane[drawn]
    above = heights[owner] - plane[:, None]
    others = np.roll(above, -1, axis=1)
    crosses = (above >= 0) != (others >= 0)
    keep = crosses.sum(axis=1) == 2
    owner, above, others, crosses = owner[keep], above[keep], others[keep], crosses[keep]
    share = np.where(crosses, above, 0) / np.where(crosses, above - others, 1)
    corners = triangles[owner]
    points = corners + share[:, :, None] * (np.roll(corners, -1, axis=1) - corners)
    picked = np.argsort(~crosses, axis=1, kind="stable")[:, :2]
    owner, pieces = _split_lines(np.take_along_axis(points, picked[:, :, None], axis=1))
    phase = (
        pieces.mean(axis=1) @ shading.break_rates + 2.399963 * plane[keep][owner]
    )  # the golden angle: neighbours differ
    return pieces[np.cos(phase) > np.cos(np.pi * shading.drawn_share)]


def _split_lines(ends: Points) -> tuple[NDArray[np.int64], Points]:
    """Lines (K, 2, 3) cut into pieces: which line each is of, and the pieces."""
    way = ends[:, 1] - ends[:, 0]
    counts = np.maximum(np.ceil(np.linalg.norm(way, axis=1) / PIECE_LENGTH), 1).astype(np.int64)
    owner, step = np.repeat(np.arange(len(ends)), counts), concatenated_ranges(counts)[:, None]
    start = ends[owner, 0] + way[owner] * (step / counts[owner][:, None])
    return owner, np.stack([start, start + way[owner] / counts[owner][:, None]], axis=1)


def _place_dots(triangles: Points, dark: Points, shading: Shading) -> Points:
    """Dots (K, 2, 3), lines without length, spread over the triangles as densely as they are dark."""
    sides = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    wanted = np.linalg.norm(sides, axis=1) / 2 * np.clip(dark - 0.2, 0, 1) * 0.7 / shading.spacing**2
    places = np.cumsum(wanted)
    ends = np.floor(places).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    owner = np.repeat(np.arange(len(triangles)), counts)
    number = np.arange(len(owner))
    one, other = (number * 0.7548776662) % 1, (number * 0.5698402910) % 1  # the R2 sequence: even without a pattern
    one, other = np.where(one + other > 1, 1 - one, one), np.where(one + other > 1, 1 - other, other)
    corners = triangles[owner]
    spots = (
        corners[:, 0]
        + one[:, None] * (corners[:, 1] - corners[:, 0])
        + other[:, None] * (corners[:, 2] - corners[:, 0])
    )
    return np.stack([spots, spots], axis=1)


def _is_shaded(points: Points, shading: Shading) -> NDArray[np.bool_]:
    """Whether shading comes at a point: waves over space, cut so that about `amount` of it is shaded."""
    waves = np.sin(points @ shading.waves + shading.waves[0]).sum(axis=1)
    return waves > 2.6 * (0.5 - shading.coverage)
