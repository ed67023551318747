"""Lines on the surfaces of an object: fittings, seams and patterns, laid on its parts from their sides."""

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

DEPTH_MAP_PX = 200  # longest side of the map of a part's surface
MAX_STEP = 0.04  # a line is bent to the surface at least so often, in longest sides of its part
LIFT_HEIGHT = 0.003  # how far a line lies above the surface, the same
MAX_SLOPE = 2.5  # a line does not climb a step that is steeper
MAX_TRIES = 6  # places that are tried for a fitting that must lie on its part whole
FRONT, BACK, LEFT, RIGHT, TOP = View(0, 0), View(180, 0), View(-90, 0), View(90, 0), View(0, 90)
SIDE_PROBABILITIES = ((FRONT, 0.5), (TOP, 0.2), (RIGHT, 0.1), (LEFT, 0.1), (BACK, 0.1))


@dataclass(frozen=True)
class _Surface:
    """A part as it is seen from one side.

    Args:
        view: from where.
        low: float64 (2,), its upper left corner, to the right and down.
        size: float64 (2,), its width and height.
        scale: pixels of the map to a unit.
        depth: float32 (H, W), its nearness in units.
    """

    view: View
    low: Points
    size: Points
    scale: float
    depth: NDArray[np.float32]

    def project_onto(self, segments: Points) -> tuple[Points, NDArray[np.bool_]]:
        """Segments (S, 2, 2) of the side in space, float64 (K, 2, 3) in short pieces, and which lie on the part."""
        pieces = _subdivide(segments, MAX_STEP * float(self.size.max()))
        spots = (pieces - self.low) * self.scale + 0.5  # the map has a margin of a pixel, and pixels have middles
        near, found = _interpolate(self.depth, spots.reshape(-1, 2))
        near = near.reshape(-1, 2)
        length = np.linalg.norm(pieces[:, 1] - pieces[:, 0], axis=1)
        level: NDArray[np.bool_] = np.abs(near[:, 1] - near[:, 0]) <= MAX_SLOPE * length + 1e-6
        lifted = near + LIFT_HEIGHT * float(self.size.max())
        return np.concatenate([pieces, lifted[:, :, None]], axis=2) @ self.view.axes(), found.reshape(-1, 2).all(
            axis=1
        ) & level


def add_marks(parts: Sequence[Mesh], rng: PartRng) -> list[Mesh]:
    """The parts with lines on their surfaces: on some objects none, on others a pattern, seams or a few fittings."""
    parts = list(parts)
    largest = float(max(np.ptp(part.vertices, axis=0).max() for part in parts))
    for share, fewest, most, lay in ((0.45, 1, 3, _add_pattern), (0.6, 1, 4, _add_seam), (0.9, 1, 10, _add_fixtures)):
        if rng.random() < share:
            for _ in range(int(rng.integers(fewest, most + 1))):
                lay(parts, rng.next_part(), largest)
    return parts


def _add_pattern(parts: list[Mesh], rng: PartRng, _: float) -> None:
    """A pattern over all sides of a part, or over the middle of one."""
    number = _sample_part(parts, rng)
    motif = sample_pattern(rng)
    whole = rng.random() < 0.6
    for view in [side for side, _ in SIDE_PROBABILITIES] if whole else [_sample_side(rng)]:
        surface = _build_surface(parts[number], view)
        if surface is not None:
            room = np.full(2, surface.size.max() / 2) if whole else surface.size / 2 * rng.uniform(0.3, 0.8)
            _add_visible_lines(parts, number, surface, motif * room + surface.low + surface.size / 2)


def _add_seam(parts: list[Mesh], rng: PartRng, _: float) -> None:
    """A seam on one side of a part, and at times on the other side too."""
    number = _sample_part(parts, rng)
    motif = sample_seam(rng)
    views = [FRONT, BACK] if rng.random() < 0.5 else [_sample_side(rng)]
    for view in views:
        surface = _build_surface(parts[number], view)
        if surface is not None:
            _add_visible_lines(parts, number, surface, motif * surface.size / 2 + surface.low + surface.size / 2)


def _add_fixtures(parts: list[Mesh], rng: PartRng, largest: float) -> None:
    """A fitting, or several of one kind in a row, each where it lies on the part whole."""
    number = _sample_part(parts, rng)
    surface = _build_surface(parts[number], _sample_side(rng))
    if surface is None:
        return
    motif, size = sample_fixture(rng), largest * float(np.exp(rng.uniform(np.log(0.012), np.log(0.12))))
    num, ahead = int(rng.choice([1, 1, 1, 2, 3, 4])), rng.normal(size=2)
    step = ahead / np.abs(ahead).max() * size * rng.uniform(2.3, 5.0)
    for _ in range(MAX_TRIES):
        middle = surface.low + surface.size * rng.uniform(0.1, 0.9, size=2)
        row = [motif * size + middle + step * (place - (num - 1) / 2) for place in range(num)]
        lines, found = surface.project_onto(np.concatenate(row))
        if found.all():
            parts[number] = _append_marks(parts[number], lines)
            return


def _add_visible_lines(parts: list[Mesh], number: int, surface: _Surface, segments: Points) -> None:
    lines, found = surface.project_onto(segments)
    parts[number] = _append_marks(parts[number], lines[found])


def _append_marks(part: Mesh, lines: Points) -> Mesh:
    return replace(part, marks=np.concatenate([part.marks, lines]))


def _sample_part(parts: Sequence[Mesh], rng: PartRng) -> int:
    """The number of a part, larger ones more often."""
    sizes = np.array([np.sort(np.ptp(part.vertices, axis=0))[1:].prod() for part in parts])
    return int(np.searchsorted(np.cumsum(sizes) / sizes.sum(), rng.random() * 0.999))


def _sample_side(rng: PartRng) -> View:
    shares = np.cumsum([share for _, share in SIDE_PROBABILITIES])
    return SIDE_PROBABILITIES[int(np.searchsorted(shares, rng.random() * 0.999))][0]


def _build_surface(part: Mesh, view: View) -> _Surface | None:
    """The part seen from a side; None where it is edge-on there."""
    seen = view.project(part.vertices)
    low, size = seen[:, :2].min(axis=0), np.ptp(seen[:, :2], axis=0)
    if size.min() < 0.02 * size.max():
        return None
    scale = DEPTH_MAP_PX / float(size.max())
    corners = (seen - [*low, 0.0]) * [scale, scale, 1.0] + [1.0, 1.0, 0.0]
    width, height = (np.ceil(size * scale).astype(int) + 2).tolist()
    depth = render_depth(corners, np.concatenate([part.faces, part.fill]), width=width, height=height)
    return _Surface(view, low, size, scale, depth)


def _interpolate(depth: NDArray[np.float32], spots: Points) -> tuple[Points, NDArray[np.bool_]]:
    """The map between its pixels at spots (N, 2), and whether all four pixels around each are on the part."""
    height, width = depth.shape
    column, row = np.floor(spots).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < width - 1) & (row < height - 1)
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    right, down = (spots - np.floor(spots)).T
    corners = [depth[row + y, column + x].astype(np.float64) for y in (0, 1) for x in (0, 1)]
    found = inside & (np.min(corners, axis=0) > BACKGROUND / 2)
    upper = corners[0] * (1 - right) + corners[1] * right
    lower = corners[2] * (1 - right) + corners[3] * right
    return np.where(found, upper * (1 - down) + lower * down, 0.0), found


def _subdivide(segments: Points, longest: float) -> Points:
    way = segments[:, 1] - segments[:, 0]
    counts = np.maximum(np.ceil(np.linalg.norm(way, axis=1) / longest), 1).astype(np.int64)
    owner = np.repeat(np.arange(len(segments)), counts)
    step = (way / counts[:, None])[owner]
    start = segments[owner, 0] + concatenated_ranges(counts)[:, None] * step
    return np.stack([start, start + step], axis=1)
