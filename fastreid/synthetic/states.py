"""States of an object in a figure: closed, open, exploded, cut in half, or in use among its surroundings."""

from collections.abc import Callable, Sequence

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh, as_component, extrude, revolve, slab, triangulate_loops
from fastreid.synthetic.geometry.outlines import Points, circle
from fastreid.synthetic.geometry.solid import Solid, assemble
from fastreid.synthetic.sampling import PartRng

SURROUNDINGS = "surroundings"
STATES = ("closed", "open", "exploded", "section", "in use")


def _lift(parts: list[Mesh], height: float) -> list[Mesh]:
    """Lift a cap."""
    return [part.translate(z=height) for part in parts]


def _swing_up(parts: list[Mesh], _: float) -> list[Mesh]:
    """Rotate a lid up about its lower back edge."""
    low, high = _bounding_box(parts)
    y, z = high[1], low[2]
    return [part.translate(y=-y, z=-z).rotate("x", -105).translate(y=y, z=z) for part in parts]


def _swing_out(parts: list[Mesh], _: float) -> list[Mesh]:
    """Rotate a door out about its left back edge."""
    low, high = _bounding_box(parts)
    x, y = low[0], high[1]
    return [part.translate(x=-x, y=-y).rotate("z", -75).translate(x=x, y=y) for part in parts]


def _fold_in(parts: list[Mesh], _: float) -> list[Mesh]:
    """Fold an arm about a vertical axis at its front."""
    low, _high = _bounding_box(parts)
    return [part.translate(y=-low[1]).rotate("z", 80).translate(y=low[1]) for part in parts]


def _pull_out(parts: list[Mesh], _: float) -> list[Mesh]:
    """Pull a drawer out by 0.7 of its depth."""
    low, high = _bounding_box(parts)
    return [part.translate(y=-0.7 * (high[1] - low[1])) for part in parts]


# component name -> function that opens it, given its parts and the distance to lift it
OPENINGS: dict[str, Callable[[list[Mesh], float], list[Mesh]]] = {
    "lid": _swing_up,
    "cap": _lift,
    "door": _swing_out,
    "drawer": _pull_out,
    "arm": _fold_in,
}


def group_by_component(parts: Sequence[Mesh]) -> dict[str, list[Mesh]]:
    """Group parts by component, in the order of first appearance."""
    components: dict[str, list[Mesh]] = {}
    for part in parts:
        components.setdefault(part.component, []).append(part)
    return components


def can_open(parts: Sequence[Mesh]) -> bool:
    """Return True if any component can open."""
    return any(part.component in OPENINGS for part in parts)


def build_solid(state: str, parts: Sequence[Mesh], *, unclaimed: Sequence[str], rng: PartRng) -> Solid:
    """Assemble the object in one of STATES.

    Args:
        state: one of STATES.
        parts: parts of the closed object.
        unclaimed: names of the components in broken lines.
        rng: samples the surroundings of the state "in use".
    """
    if state == "section":
        halves, lines = _cut_in_half(parts)
        return assemble(halves, unclaimed=unclaimed, surface_lines=lines)
    if state == "open":
        return assemble(_open_components(parts), unclaimed=unclaimed)
    if state == "exploded":
        return assemble(_explode(parts), unclaimed=unclaimed)
    if state == "in use":
        around = as_component(SURROUNDINGS, _sample_surroundings(parts, rng))
        return assemble([*parts, *around], unclaimed=[*unclaimed, SURROUNDINGS])
    return assemble(parts, unclaimed=unclaimed)


def _open_components(parts: Sequence[Mesh]) -> list[Mesh]:
    """Open every component that can open."""
    low, high = _bounding_box(parts)
    height = 0.3 * float(high[2] - low[2])
    components = group_by_component(parts)
    return [
        part
        for name, component_parts in components.items()
        for part in OPENINGS.get(name, _keep)(component_parts, height)
    ]


def _keep(parts: list[Mesh], _: float) -> list[Mesh]:
    """Return the parts unchanged."""
    return parts


def _explode(parts: Sequence[Mesh]) -> list[Mesh]:
    """Move components apart along the axis on which their centers differ most."""
    low, high = _bounding_box(parts)
    gap = 0.12 * float((high - low).max())
    components = list(group_by_component(parts).values())
    axis = int(np.argmax(np.ptp([np.add(*_bounding_box(piece)) for piece in components], axis=0)))
    components.sort(key=lambda piece: float(np.add(*_bounding_box(piece))[axis]))
    moved, end = [], None
    for piece in components:
        low, high = _bounding_box(piece)
        shift = 0.0 if end is None else max(end + gap - float(low[axis]), 0.0)
        end = float(high[axis]) + shift
        moved += [part.translate(**{"xyz"[axis]: shift}) for part in piece]
    return moved


def _sample_surroundings(parts: Sequence[Mesh], rng: PartRng) -> list[Mesh]:
    """Sample a large part that the object stands on, hangs on or is joined to."""
    low, high = _bounding_box(parts)
    (width, depth, height), (x, y, _) = high - low, (low + high) / 2
    kind = ("floor", "wall", "post", "block")[int(rng.integers(4))]
    if kind == "floor":
        return [
            slab(1.5 * width, 1.6 * depth, 0.05 * height, radius=0.1 * width).translate(
                x=x, y=y, z=low[2] - 0.05 * height
            )
        ]
    if kind == "wall":
        return [
            slab(1.5 * width, 0.08 * depth, 1.4 * height).translate(
                x=x, y=high[1] + 0.05 * depth, z=low[2] - 0.2 * height
            )
        ]
    if kind == "post":
        radius = 0.2 * min(width, depth) + 0.02
        return [revolve([(radius, low[2] - 0.6 * height), (radius, low[2] + 0.05 * height)]).translate(x=x, y=y)]
    plate = extrude(circle(0.5, num_sides=32) * [0.7 * width, 0.9 * depth], 0.6 * height)
    return [plate.translate(x=high[0] + 0.33 * width, y=y, z=low[2])]


def _cut_in_half(parts: Sequence[Mesh]) -> tuple[list[Mesh], Points]:
    """Return the capped back half of each part, and the outlines and hatching of the cuts (L, 2, 3)."""
    low, high = _bounding_box(parts)
    plane = float((low + high)[1] / 2 + 0.0137 * (high - low)[1])
    spacing = 0.022 * float(np.linalg.norm(high - low))
    halves, lines = [], [np.zeros((0, 2, 3))]
    for index, part in enumerate(parts):
        faces, cut = _clip_triangles(part.vertices[part.faces], plane)
        fill, cut_fill = _clip_triangles(part.vertices[part.fill], plane)
        outline = np.round(np.concatenate([cut, cut_fill])[:, :, [0, 2]], 9)
        outline = outline[(outline[:, 0] != outline[:, 1]).any(axis=1)]
        hatching = _hatch(outline, spacing, slant=1.0 if index % 2 else -1.0)
        cap = triangulate_loops(outline[:, 0], outline[:, 1]) if len(outline) else np.zeros((0, 2))
        fill = np.concatenate([fill, _lift_to_plane(cap, plane).reshape(-1, 3, 3)])
        marks = part.marks[(part.marks[:, :, 1] >= plane).all(axis=1)]
        if len(faces):
            indices = np.arange(3 * (len(faces) + len(fill))).reshape(-1, 3)
            vertices = np.concatenate([faces, fill]).reshape(-1, 3)
            halves.append(Mesh(vertices, indices[: len(faces)], indices[len(faces) :], marks, part.component))
        flat_lines = np.concatenate([outline, hatching]).reshape(-1, 2)
        lines.append(_lift_to_plane(flat_lines, plane).reshape(-1, 2, 3))
    return halves, np.concatenate(lines)


def _clip_triangles(triangles: Points, plane: float) -> tuple[Points, Points]:
    """Clip triangles (F, 3, 3) to y >= plane; return the clipped triangles and the segments (S, 2, 3) of the cut."""
    behind = triangles[:, :, 1] >= plane
    num_behind = behind.sum(axis=1)
    # the corner that is alone on its side of the plane
    lone_corner = np.where(num_behind == 1, behind.argmax(axis=1), (~behind).argmax(axis=1))
    order = (lone_corner[:, None] + np.arange(3)) % 3
    a, b, c = np.moveaxis(np.take_along_axis(triangles, order[:, :, None], axis=1), 1, 0)
    is_cut = (num_behind == 1) | (num_behind == 2)
    ab, ac = (_plane_crossing(a[is_cut], other[is_cut], plane) for other in (b, c))
    is_one_behind, is_two_behind = num_behind[is_cut] == 1, num_behind[is_cut] == 2
    b, c = b[is_cut], c[is_cut]
    pieces = [
        triangles[num_behind == 3],
        np.stack([a[is_cut][is_one_behind], ab[is_one_behind], ac[is_one_behind]], axis=1),
        np.stack([ab[is_two_behind], b[is_two_behind], c[is_two_behind]], axis=1),
        np.stack([ab[is_two_behind], c[is_two_behind], ac[is_two_behind]], axis=1),
    ]
    return np.concatenate(pieces), np.stack([ab, ac], axis=1)


def _plane_crossing(start: Points, end: Points, plane: float) -> Points:
    """Return the points where segments cross y = plane."""
    t = (plane - start[:, 1:2]) / (end[:, 1:2] - start[:, 1:2])
    return start + t * (end - start)


def _hatch(outline: Points, spacing: float, *, slant: float) -> Points:
    """Return evenly spaced slanted lines (S, 2, 2) inside a closed outline with sides (N, 2, 2)."""
    positions = (outline[:, :, 0] + slant * outline[:, :, 1]) / spacing
    heights = outline[:, :, 1] - slant * outline[:, :, 0]
    low, high = np.floor(positions.min(axis=1)).astype(np.int64), np.floor(positions.max(axis=1)).astype(np.int64)
    owner = np.repeat(np.arange(len(outline)), high - low)
    line = np.concatenate([np.arange(a + 1, b + 1) for a, b in zip(low, high)] or [low])
    t = (line - positions[owner, 0]) / (positions[owner, 1] - positions[owner, 0])
    height = heights[owner, 0] + t * (heights[owner, 1] - heights[owner, 0])
    order = np.lexsort((height, line))
    line, height = line[order], height[order]
    if len(line) % 2 or (line[::2] != line[1::2]).any():
        return np.zeros((0, 2, 2))  # the part is not closed, so its cut has no interior
    line, height = (line * spacing)[:, None], height[:, None]
    x, y = (line - slant * height) / 2, (slant * line + height) / 2
    return np.concatenate([x, y], axis=1).reshape(-1, 2, 2)


def _lift_to_plane(flat: Points, plane: float) -> Points:
    """Return points (N, 2) of the plane y = plane as points (N, 3)."""
    return np.stack([flat[:, 0], np.full(len(flat), plane), flat[:, 1]], axis=1)


def _bounding_box(parts: Sequence[Mesh]) -> tuple[Points, Points]:
    """Return the lower and upper corner over vertices."""
    points = np.concatenate([part.vertices for part in parts])
    return points.min(axis=0), points.max(axis=0)
