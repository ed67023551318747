"""Marks on the surfaces of an object: fixtures, seams and patterns, projected onto its parts from their sides."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, concatenated_ranges, render_depth
from fastreid.synthetic.rendering.views import View
from fastreid.synthetic.sampling import PartRng
from fastreid.synthetic.surface.motifs import sample_fixture, sample_pattern, sample_seam

DEPTH_MAP_PX = 200  # longest side of the depth map of a part
MAX_STEP = 0.04  # longest piece of a projected line, as a share of the longest side of its part
LIFT_HEIGHT = 0.003  # distance of a line from the surface, as a share of the longest side of its part
MAX_SLOPE = 2.5  # lines stop at steeper steps of the surface
MAX_TRIES = 6  # attempts to place a fixture completely on its part
FRONT, BACK, LEFT, RIGHT, TOP = View(0, 0), View(180, 0), View(-90, 0), View(90, 0), View(0, 90)
SIDE_PROBABILITIES = ((FRONT, 0.5), (TOP, 0.2), (RIGHT, 0.1), (LEFT, 0.1), (BACK, 0.1))


@dataclass(frozen=True)
class _Surface:
    """Depth map of a part seen from one side.

    Args:
        view: view of the part.
        low: float64 (2,), upper left corner of the part in the image.
        size: float64 (2,), width and height of the part.
        scale: pixels of the map per unit.
        depth: float32 (H, W), depth in units; it grows towards the viewer.
    """

    view: View
    low: Points
    size: Points
    scale: float
    depth: NDArray[np.float32]

    def project_onto(self, segments: Points) -> tuple[Points, NDArray[np.bool_]]:
        """Project segments onto the surface.

        Args:
            segments: float64 (S, 2, 2), in the plane of the view.

        Returns:
            Short pieces in space, float64 (K, 2, 3), and whether each is on the part, bool (K,).
        """
        pieces = _subdivide(segments, MAX_STEP * float(self.size.max()))
        pixels = (
            pieces - self.low
        ) * self.scale + 0.5  # the map has a margin of one pixel; pixel centers are at half integers
        depth, is_on_part = _interpolate(self.depth, pixels.reshape(-1, 2))
        depth = depth.reshape(-1, 2)
        length = np.linalg.norm(pieces[:, 1] - pieces[:, 0], axis=1)
        is_gentle: NDArray[np.bool_] = np.abs(depth[:, 1] - depth[:, 0]) <= MAX_SLOPE * length + 1e-6
        depth_above = depth + LIFT_HEIGHT * float(self.size.max())
        return np.concatenate([pieces, depth_above[:, :, None]], axis=2) @ self.view.axes(), is_on_part.reshape(
            -1, 2
        ).all(axis=1) & is_gentle


def add_marks(parts: Sequence[Mesh], rng: PartRng) -> list[Mesh]:
    """Return the parts with marks on their surfaces: patterns, seams and fixtures, or none on some objects."""
    parts = list(parts)
    largest = float(max(np.ptp(part.vertices, axis=0).max() for part in parts))
    for probability, low, high, add in (
        (0.45, 1, 3, _add_pattern),
        (0.6, 1, 4, _add_seam),
        (0.9, 1, 10, _add_fixtures),
    ):
        if rng.random() < probability:
            for _ in range(int(rng.integers(low, high + 1))):
                add(parts, rng.next_part(), largest)
    return parts


def _add_pattern(parts: list[Mesh], rng: PartRng, _: float) -> None:
    """Add a pattern to all sides of a part or to the middle of one side."""
    index = _sample_part(parts, rng)
    motif = sample_pattern(rng)
    covers_part = rng.random() < 0.6
    for view in [side for side, _ in SIDE_PROBABILITIES] if covers_part else [_sample_side(rng)]:
        surface = _build_surface(parts[index], view)
        if surface is not None:
            half_size = np.full(2, surface.size.max() / 2) if covers_part else surface.size / 2 * rng.uniform(0.3, 0.8)
            _add_visible_lines(parts, index, surface, motif * half_size + surface.low + surface.size / 2)


def _add_seam(parts: list[Mesh], rng: PartRng, _: float) -> None:
    """Add a seam to the front and back of a part or to one side."""
    index = _sample_part(parts, rng)
    motif = sample_seam(rng)
    views = [FRONT, BACK] if rng.random() < 0.5 else [_sample_side(rng)]
    for view in views:
        surface = _build_surface(parts[index], view)
        if surface is not None:
            _add_visible_lines(parts, index, surface, motif * surface.size / 2 + surface.low + surface.size / 2)


def _add_fixtures(parts: list[Mesh], rng: PartRng, largest: float) -> None:
    """Add a fixture, or a row of equal ones, at a position where it is completely on the part."""
    index = _sample_part(parts, rng)
    surface = _build_surface(parts[index], _sample_side(rng))
    if surface is None:
        return
    motif, size = sample_fixture(rng), largest * float(np.exp(rng.uniform(np.log(0.012), np.log(0.12))))
    num, direction = int(rng.choice([1, 1, 1, 2, 3, 4])), rng.normal(size=2)
    step = direction / np.abs(direction).max() * size * rng.uniform(2.3, 5.0)
    for _ in range(MAX_TRIES):
        center = surface.low + surface.size * rng.uniform(0.1, 0.9, size=2)
        copies = [motif * size + center + step * (copy - (num - 1) / 2) for copy in range(num)]
        lines, is_on_part = surface.project_onto(np.concatenate(copies))
        if is_on_part.all():
            parts[index] = _append_marks(parts[index], lines)
            return


def _add_visible_lines(parts: list[Mesh], index: int, surface: _Surface, segments: Points) -> None:
    lines, is_on_part = surface.project_onto(segments)
    parts[index] = _append_marks(parts[index], lines[is_on_part])


def _append_marks(part: Mesh, lines: Points) -> Mesh:
    return replace(part, marks=np.concatenate([part.marks, lines]))


def _sample_part(parts: Sequence[Mesh], rng: PartRng) -> int:
    """Sample the index of a part with a probability proportional to its size."""
    sizes = np.array([np.sort(np.ptp(part.vertices, axis=0))[1:].prod() for part in parts])
    return int(np.searchsorted(np.cumsum(sizes) / sizes.sum(), rng.random() * 0.999))


def _sample_side(rng: PartRng) -> View:
    """Sample a view by SIDE_PROBABILITIES."""
    cumulative = np.cumsum([share for _, share in SIDE_PROBABILITIES])
    return SIDE_PROBABILITIES[int(np.searchsorted(cumulative, rng.random() * 0.999))][0]


def _build_surface(part: Mesh, view: View) -> _Surface | None:
    """Render the depth map of a part from one side; None if the part is seen edge-on."""
    projected = view.project(part.vertices)
    low, size = projected[:, :2].min(axis=0), np.ptp(projected[:, :2], axis=0)
    if size.min() < 0.02 * size.max():
        return None
    scale = DEPTH_MAP_PX / float(size.max())
    corners = (projected - [*low, 0.0]) * [scale, scale, 1.0] + [1.0, 1.0, 0.0]
    width, height = (np.ceil(size * scale).astype(int) + 2).tolist()
    depth = render_depth(corners, np.concatenate([part.faces, part.fill]), width=width, height=height)
    return _Surface(view, low, size, scale, depth)


def _interpolate(depth: NDArray[np.float32], pixels: Points) -> tuple[Points, NDArray[np.bool_]]:
    """Interpolate the map at pixels (N, 2); also return whether all four pixels around each are on the part."""
    height, width = depth.shape
    column, row = np.floor(pixels).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    right, down = (pixels - np.floor(pixels)).T
    corners = [depth[row + y, column + x].astype(np.float64) for y in (0, 1) for x in (0, 1)]
    is_on_part = inside & (np.min(corners, axis=0) > BACKGROUND / 2)
    upper = corners[0] * (1 - right) + corners[1] * right
    lower = corners[2] * (1 - right) + corners[3] * right
    return np.where(is_on_part, upper * (1 - down) + lower * down, 0.0), is_on_part


def _subdivide(segments: Points, max_length: float) -> Points:
    """Split segments into equal pieces of at most `max_length`."""
    direction = segments[:, 1] - segments[:, 0]
    counts = np.maximum(np.ceil(np.linalg.norm(direction, axis=1) / max_length), 1).astype(np.int64)
    owner = np.repeat(np.arange(len(segments)), counts)
    step = (direction / counts[:, None])[owner]
    start = segments[owner, 0] + concatenated_ranges(counts)[:, None] * step
    return np.stack([start, start + step], axis=1)
