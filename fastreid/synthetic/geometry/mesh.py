"""Parts of an object as triangle meshes: extruded, turned, swept and boxed. Up is z, the front looks along -y."""

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
        faces: int64 (F, 3), all turned the same way round; their creases, silhouettes and borders are drawn.
        fill: int64 (G, 3), flat faces that hide what is behind them and have no lines of their own: a face with holes
            is cut into such pieces, and its lines are the borders of the walls around it.
        marks: float64 (L, 2, 3), lines on its surface that are no edges of it, such as writing and stitches.
        piece: what it belongs to, such as "lid": what opens, is left unclaimed or stands apart in an exploded view.
    """

    vertices: Points
    faces: Faces
    fill: Faces = field(default_factory=_empty_faces)
    marks: Points = field(default_factory=_empty_lines)
    component: str = "body"

    def translate(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Mesh":
        shift = np.array([x, y, z])
        return replace(self, vertices=self.vertices + shift, marks=self.marks + shift)

    def scale(self, x: float, y: float | None = None, z: float | None = None) -> "Mesh":
        """Stretched along the axes; one number stretches all three, a negative one mirrors."""
        factors = np.array([x, x if y is None else y, x if z is None else z])
        return replace(self, vertices=self.vertices * factors, marks=self.marks * factors)

    def rotate(self, axis: str, degrees: float) -> "Mesh":
        """Turned about the x, y or z axis, counter-clockwise for a viewer the axis points at."""
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        given, made = (self.vertices, self.marks), []
        for points in given:
            made.append(points.copy())
            made[-1][..., first] = cos * points[..., first] - sin * points[..., second]
            made[-1][..., second] = sin * points[..., first] + cos * points[..., second]
        return replace(self, vertices=made[0], marks=made[1])


def as_component(component: str, parts: Iterable[Mesh]) -> list[Mesh]:
    """The parts as one piece of that name."""
    return [replace(part, component=component) for part in parts]


def circular_pattern(part: Mesh, num: int, *, start: float = 0.0) -> list[Mesh]:
    """Copies of a part at even angles about the z axis, the first at `start` degrees."""
    return [part.rotate("z", start + 360.0 * i / num) for i in range(num)]


def loft(rings: Points, *, closed: bool = False, capped: bool = True) -> Mesh:
    """The skin over rings of points, float64 (K, N, 3).

    Args:
        closed: the last ring joins the first, as in a torus.
        capped: the first and last ring are filled from their middle; they must be star-shaped about it.
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
    """A part turned about z: at each (radius, height) of the profile stands the outline, stretched by the radius.

    Args:
        profile: (K, 2) radii and heights, from the bottom of the outside on; a radius of 0 closes the part.
        outline: cross-section of about radius 1; a circle where it is left out.
        closed: the profile's end joins its start, as in a ring.
    """
    steps = np.asarray(profile, dtype=np.float64)
    section = circle() if outline is None else outline
    flat = steps[:, None, :1] * section
    heights = np.broadcast_to(steps[:, None, 1:], (*flat.shape[:2], 1))
    return loft(np.concatenate([flat, heights], axis=2), closed=closed)


def ring(radius: float, width: float, height: float, *, z: float = 0.0, outline: Points | None = None) -> Mesh:
    """A square-edged band: inner radius, how far it stands out, how high; its middle at height z."""
    profile = [(radius, -height / 2), (radius + width, -height / 2), (radius + width, height / 2), (radius, height / 2)]
    return revolve(profile, outline, closed=True).translate(z=z)


def torus(radius: float, thickness: float, *, z: float = 0.0, outline: Points | None = None) -> Mesh:
    """A round ring: radius of its middle line, thickness of its bar."""
    return revolve(circle(thickness / 2, num_sides=16) + [radius, 0], outline, closed=True).translate(z=z)


def slab(
    width: float, depth: float, height: float, *, radius: float = 0.0, bevel: float = 0.0, fillet: float = 0.0
) -> Mesh:
    """A box standing on z = 0, its upright edges rounded, its upper and lower rims cut by a bevel or round as a fillet.

    A fillet goes before a bevel, and is at most half of the height and three tenths of the narrower side.
    """
    levels = [(0.0, 0.0), (0.0, height)]
    if fillet:
        size = min(fillet, 0.49 * height, 0.3 * min(width, depth))
        turns = np.arange(CORNER_CHORDS + 1) * (np.pi / 2 / CORNER_CHORDS)
        rim = size * np.stack([1 - np.sin(turns), 1 - np.cos(turns)], axis=1)
        levels = [*map(tuple, rim), *((inset, height - z) for inset, z in rim[::-1])]
    elif bevel:
        levels = [(bevel, 0.0), (0.0, bevel), (0.0, height - bevel), (bevel, height)]
    rings = []
    for inset, z in levels:
        flat = rounded_rectangle(width - 2 * inset, depth - 2 * inset, radius=max(radius - inset, 0.3 * radius))
        rings.append(np.concatenate([flat, np.full((len(flat), 1), z)], axis=1))
    return loft(np.stack(rings))


def box(width: float, depth: float, height: float) -> Mesh:
    """A sharp box standing on z = 0, its middle over the origin."""
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * [width, depth]
    return extrude(corners, height)


def extrude(outline: Points, height: float, *, holes: Sequence[Points] = ()) -> Mesh:
    """A plate of that outline from z = 0 up, with holes through it; no outline may touch another."""
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
    flat = triangulate_loops(np.concatenate(loops), np.concatenate([np.roll(loop, -1, axis=0) for loop in loops]))
    for z in (0.0, height):
        vertices.append(np.concatenate([flat, np.full((len(flat), 1), z)], axis=1))
    fill = start + np.arange(2 * len(flat)).reshape(-1, 3)
    return Mesh(np.concatenate(vertices), np.concatenate(faces), fill)


def triangulate_loops(starts: Points, ends: Points) -> Points:
    """Triangles (3 * T, 2) that cover what closed loops, given as sides (N, 2) and (N, 2), enclose an odd number of times.

    The plane is cut into strips at the height of every corner; within a strip the sides do not cross, so sorted from
    left to right each odd gap between them is a trapezoid.
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
