"""Triangle meshes of parts: extrude, revolve, loft. The z axis points up, the front faces -y."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import CORNER_CHORDS, Points, circle, rounded_rectangle

Faces = NDArray[np.int64]


def _empty_faces() -> Faces:
    return np.zeros((0, 3), dtype=np.int64)


def _empty_lines() -> Points:
    return np.zeros((0, 2, 3))


@dataclass(frozen=True)
class Mesh:
    """One part of an object.

    Args:
        vertices: float64 (V, 3).
        faces: int64 (F, 3), all with the same orientation; their creases, silhouettes and borders are drawn.
        fill: int64 (G, 3), flat faces that occlude but have no edges. A face with holes is split into such triangles;
            its edges are the borders of the adjacent walls.
        marks: float64 (L, 2, 3), lines on the surface that are not edges, such as lettering and stitches.
        component: name of the component it belongs to, such as "lid". Components open, are unclaimed or move apart in
            an exploded view.
    """

    vertices: Points
    faces: Faces
    fill: Faces = field(default_factory=_empty_faces)
    marks: Points = field(default_factory=_empty_lines)
    component: str = "body"

    def translate(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Mesh":
        """Return a copy translated along the axes.

        Args:
            x: shift along the x axis.
            y: shift along the y axis.
            z: shift along the z axis.
        """
        shift = np.array([x, y, z])
        return replace(self, vertices=self.vertices + shift, marks=self.marks + shift)

    def scale(self, x: float, y: float | None = None, z: float | None = None) -> "Mesh":
        """Return a copy scaled along the axes; negative factors mirror.

        Args:
            x: factor along the x axis.
            y: factor along the y axis; None: as x.
            z: factor along the z axis; None: as x.
        """
        factors = np.array([x, x if y is None else y, x if z is None else z])
        return replace(self, vertices=self.vertices * factors, marks=self.marks * factors)

    def rotate(self, axis: str, degrees: float) -> "Mesh":
        """Return a copy rotated about the x, y or z axis, counter-clockwise seen against the axis."""
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rotated = []
        for points in (self.vertices, self.marks):
            rotated.append(points.copy())
            rotated[-1][..., first] = cos * points[..., first] - sin * points[..., second]
            rotated[-1][..., second] = sin * points[..., first] + cos * points[..., second]
        return replace(self, vertices=rotated[0], marks=rotated[1])


def as_component(component: str, parts: Iterable[Mesh]) -> list[Mesh]:
    """Return the parts as one component with the given name."""
    return [replace(part, component=component) for part in parts]


def circular_pattern(part: Mesh, num: int, *, start: float = 0.0) -> list[Mesh]:
    """Return copies of a part at equal angles about the z axis, the first rotated by `start` degrees."""
    return [part.rotate("z", start + 360.0 * i / num) for i in range(num)]


def loft(rings: Points, *, closed: bool = False, capped: bool = True) -> Mesh:
    """Return the surface through rings of points.

    Args:
        rings: float64 (K, N, 3).
        closed: connect the last ring to the first, as in a torus.
        capped: close the first and last ring with triangles from their centroid; they must be star-shaped about it.
    """
    num_rings, num_sides, _ = rings.shape
    index = np.arange(num_rings * num_sides).reshape(num_rings, num_sides)
    low, high = (index, np.roll(index, -1, axis=0)) if closed else (index[:-1], index[1:])
    low_next, high_next = np.roll(low, -1, axis=1), np.roll(high, -1, axis=1)
    faces = [
        np.stack([low, low_next, high_next], axis=-1).reshape(-1, 3),
        np.stack([low, high_next, high], axis=-1).reshape(-1, 3),
    ]
    vertices = [rings.reshape(-1, 3)]
    if capped and not closed:
        vertices.append(np.stack([rings[0].mean(axis=0), rings[-1].mean(axis=0)]))
        bottom, top = num_rings * num_sides, num_rings * num_sides + 1
        first, last = index[0], index[-1]
        faces.append(np.stack([np.full(num_sides, bottom), np.roll(first, -1), first], axis=-1))
        faces.append(np.stack([np.full(num_sides, top), last, np.roll(last, -1)], axis=-1))
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def revolve(profile: object, outline: Points | None = None, *, closed: bool = False) -> Mesh:
    """Revolve a profile about z: the cross-section at each height is the outline scaled by the radius there.

    Args:
        profile: (K, 2) radii and heights, starting at the bottom of the outside; a radius of 0 closes the part.
        outline: cross-section with a radius of about 1; a circle by default.
        closed: connect the end of the profile to its start, as in a ring.
    """
    steps = np.asarray(profile, dtype=np.float64)
    section = circle() if outline is None else outline
    rings = steps[:, None, :1] * section
    heights = np.broadcast_to(steps[:, None, 1:], (*rings.shape[:2], 1))
    return loft(np.concatenate([rings, heights], axis=2), closed=closed)


def ring(radius: float, width: float, height: float, *, z: float = 0.0, outline: Points | None = None) -> Mesh:
    """Return a ring with a rectangular cross-section: inner radius, radial width, height, centered at height z."""
    profile = [(radius, -height / 2), (radius + width, -height / 2), (radius + width, height / 2), (radius, height / 2)]
    return revolve(profile, outline, closed=True).translate(z=z)


def torus(radius: float, thickness: float, *, z: float = 0.0, outline: Points | None = None) -> Mesh:
    """Return a torus: radius of its center line, thickness of its tube."""
    return revolve(circle(thickness / 2, num_sides=16) + [radius, 0], outline, closed=True).translate(z=z)


def slab(
    width: float, depth: float, height: float, *, radius: float = 0.0, bevel: float = 0.0, fillet: float = 0.0
) -> Mesh:
    """Return a box on z = 0 with rounded vertical edges and beveled or filleted top and bottom edges.

    A fillet takes precedence over a bevel; it is limited to half of the height and 0.3 of the narrower side.
    """
    levels = [(0.0, 0.0), (0.0, height)]
    if fillet:
        size = min(fillet, 0.49 * height, 0.3 * min(width, depth))
        angles = np.arange(CORNER_CHORDS + 1) * (np.pi / 2 / CORNER_CHORDS)
        rim = size * np.stack([1 - np.sin(angles), 1 - np.cos(angles)], axis=1)
        levels = [*map(tuple, rim), *((inset, height - z) for inset, z in rim[::-1])]
    elif bevel:
        levels = [(bevel, 0.0), (0.0, bevel), (0.0, height - bevel), (bevel, height)]
    rings = []
    for inset, z in levels:
        flat = rounded_rectangle(width - 2 * inset, depth - 2 * inset, radius=max(radius - inset, 0.3 * radius))
        rings.append(np.concatenate([flat, np.full((len(flat), 1), z)], axis=1))
    return loft(np.stack(rings))


def box(width: float, depth: float, height: float) -> Mesh:
    """Return a box with sharp edges on z = 0, centered on the z axis."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [width, depth]
    return extrude(corners, height)


def extrude(outline: Points, height: float, *, holes: Sequence[Points] = ()) -> Mesh:
    """Extrude an outline with holes from z = 0 to `height`; outlines must not touch each other."""
    vertices, faces, start = [], [], 0
    for loop in (outline, *holes):
        num = len(loop)
        for z in (0.0, height):
            vertices.append(np.concatenate([loop, np.full((num, 1), z)], axis=1))
        low = start + np.arange(num)
        low_next = np.roll(low, -1)
        faces += [np.stack([low, low_next, low_next + num], axis=1), np.stack([low, low_next + num, low + num], axis=1)]
        start += 2 * num
    loops = [outline, *holes]
    triangles = triangulate_loops(np.concatenate(loops), np.concatenate([np.roll(loop, -1, axis=0) for loop in loops]))
    for z in (0.0, height):
        vertices.append(np.concatenate([triangles, np.full((len(triangles), 1), z)], axis=1))
    fill = start + np.arange(2 * len(triangles)).reshape(-1, 3)
    return Mesh(np.concatenate(vertices), np.concatenate(faces), fill)


def triangulate_loops(starts: Points, ends: Points) -> Points:
    """Triangulate the area that closed loops enclose an odd number of times.

    The plane is cut into strips at the height of every corner. Within a strip the sides do not cross; sorted from left
    to right, every other gap between them is a trapezoid.

    Args:
        starts: float64 (N, 2), start of each side.
        ends: float64 (N, 2), end of each side.

    Returns:
        float64 (3 * T, 2), the corners of T triangles.
    """
    starts, ends = np.round(starts, 9), np.round(ends, 9)
    levels = np.unique(np.concatenate([starts[:, 1], ends[:, 1]]))
    low, high = levels[:-1], levels[1:]
    bottom, top = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    strip, side = np.nonzero((bottom[None] <= low[:, None]) & (top[None] >= high[:, None]) & (bottom < top)[None])
    rise = ends[side, 1] - starts[side, 1]
    slope = (ends[side, 0] - starts[side, 0]) / rise
    x_low = starts[side, 0] + slope * (low[strip] - starts[side, 1])
    x_high = starts[side, 0] + slope * (high[strip] - starts[side, 1])
    order = np.lexsort((x_low + x_high, strip))
    left, right = order[0::2], order[1::2]
    a, b = np.stack([x_low[left], low[strip[left]]], 1), np.stack([x_low[right], low[strip[left]]], 1)
    c, d = np.stack([x_high[right], high[strip[left]]], 1), np.stack([x_high[left], high[strip[left]]], 1)
    return np.stack([a, b, c, a, c, d], axis=1).reshape(-1, 2)
