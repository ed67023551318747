"""What a figure may show beside the object as it is: opened, taken apart, cut through, or among other things."""

from collections.abc import Callable, Sequence

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh, as_component, extrude, revolve, slab, triangulate_loops
from fastreid.synthetic.geometry.outlines import Points, circle
from fastreid.synthetic.geometry.solid import Solid, assemble
from fastreid.synthetic.sampling import PartRng

SURROUNDINGS = "surroundings"
STATES = ("closed", "open", "exploded", "section", "in use")


def _lift(parts: list[Mesh], height: float) -> list[Mesh]:
    return [part.translate(z=height) for part in parts]


def _swing_up(parts: list[Mesh], _: float) -> list[Mesh]:
    """Turned up about the lower edge at the back."""
    low, high = _bounding_box(parts)
    y, z = high[1], low[2]
    return [part.translate(y=-y, z=-z).rotate("x", -105).translate(y=y, z=z) for part in parts]


def _swing_out(parts: list[Mesh], _: float) -> list[Mesh]:
    """Turned out about the edge at the left."""
    low, high = _bounding_box(parts)
    x, y = low[0], high[1]
    return [part.translate(x=-x, y=-y).rotate("z", -75).translate(x=x, y=y) for part in parts]


def _fold_in(parts: list[Mesh], _: float) -> list[Mesh]:
    """Turned down about the edge at the front."""
    low, _high = _bounding_box(parts)
    return [part.translate(y=-low[1]).rotate("z", 80).translate(y=low[1]) for part in parts]


def _pull_out(parts: list[Mesh], _: float) -> list[Mesh]:
    low, high = _bounding_box(parts)
    return [part.translate(y=-0.7 * (high[1] - low[1])) for part in parts]


# how a piece of that name opens
OPENINGS: dict[str, Callable[[list[Mesh], float], list[Mesh]]] = {
    "lid": _swing_up,
    "cap": _lift,
    "door": _swing_out,
    "drawer": _pull_out,
    "arm": _fold_in,
}


def group_by_component(parts: Sequence[Mesh]) -> dict[str, list[Mesh]]:
    """The parts by piece, in the order in which the pieces come first."""
    pieces: dict[str, list[Mesh]] = {}
    for part in parts:
        pieces.setdefault(part.component, []).append(part)
    return pieces


def can_open(parts: Sequence[Mesh]) -> bool:
    return any(part.component in OPENINGS for part in parts)


def build_solid(state: str, parts: Sequence[Mesh], *, unclaimed: Sequence[str], rng: PartRng) -> Solid:
    """The object in one of STATES; `rng` draws what is around it in use."""
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
    low, high = _bounding_box(parts)
    height = 0.3 * float(high[2] - low[2])
    pieces = group_by_component(parts)
    return [part for name, piece in pieces.items() for part in OPENINGS.get(name, _keep)(piece, height)]


def _keep(parts: list[Mesh], _: float) -> list[Mesh]:
    return parts


def _explode(parts: Sequence[Mesh]) -> list[Mesh]:
    """The pieces one behind the other along the way in which their middles lie furthest apart, with room between."""
    low, high = _bounding_box(parts)
    gap = 0.12 * float((high - low).max())
    pieces = list(group_by_component(parts).values())
    axis = int(np.argmax(np.ptp([np.add(*_bounding_box(piece)) for piece in pieces], axis=0)))
    pieces.sort(key=lambda piece: float(np.add(*_bounding_box(piece))[axis]))
    apart, end = [], None
    for piece in pieces:
        low, high = _bounding_box(piece)
        shift = 0.0 if end is None else max(end + gap - float(low[axis]), 0.0)
        end = float(high[axis]) + shift
        apart += [part.translate(**{"xyz"[axis]: shift}) for part in piece]
    return apart


def _sample_surroundings(parts: Sequence[Mesh], rng: PartRng) -> list[Mesh]:
    """Something large that the object stands on, hangs on or is joined to."""
    low, high = _bounding_box(parts)
    (wide, deep, tall), (x, y, _) = high - low, (low + high) / 2
    kind = ("floor", "wall", "post", "block")[int(rng.integers(4))]
    if kind == "floor":
        return [
            slab(1.5 * wide, 1.6 * deep, 0.05 * tall, radius=0.1 * wide).translate(x=x, y=y, z=low[2] - 0.05 * tall)
        ]
    if kind == "wall":
        return [
            slab(1.5 * wide, 0.08 * deep, 1.4 * tall).translate(x=x, y=high[1] + 0.05 * deep, z=low[2] - 0.2 * tall)
        ]
    if kind == "post":
        radius = 0.2 * min(wide, deep) + 0.02
        return [revolve([(radius, low[2] - 0.6 * tall), (radius, low[2] + 0.05 * tall)]).translate(x=x, y=y)]
    plate = extrude(circle(0.5, num_sides=32) * [0.7 * wide, 0.9 * deep], 0.6 * tall)
    return [plate.translate(x=high[0] + 0.33 * wide, y=y, z=low[2])]


def _cut_in_half(parts: Sequence[Mesh]) -> tuple[list[Mesh], Points]:
    """The back half of each part, closed where it is cut; and the outlines and hatching of the cuts."""
    low, high = _bounding_box(parts)
    plane = float((low + high)[1] / 2 + 0.0137 * (high - low)[1])
    spacing = 0.022 * float(np.linalg.norm(high - low))
    halves, lines = [], [np.zeros((0, 2, 3))]
    for number, part in enumerate(parts):
        faces, cut = _clip_triangles(part.vertices[part.faces], plane)
        fill, cut_fill = _clip_triangles(part.vertices[part.fill], plane)
        outline = np.round(np.concatenate([cut, cut_fill])[:, :, [0, 2]], 9)
        outline = outline[(outline[:, 0] != outline[:, 1]).any(axis=1)]
        hatching = _hatch(outline, spacing, slant=1.0 if number % 2 else -1.0)
        cap = triangulate_loops(outline[:, 0], outline[:, 1]) if len(outline) else np.zeros((0, 2))
        fill = np.concatenate([fill, _lift_to_plane(cap, plane).reshape(-1, 3, 3)])
        marks = part.marks[(part.marks[:, :, 1] >= plane).all(axis=1)]
        if len(faces):
            index = np.arange(3 * (len(faces) + len(fill))).reshape(-1, 3)
            vertices = np.concatenate([faces, fill]).reshape(-1, 3)
            halves.append(Mesh(vertices, index[: len(faces)], index[len(faces) :], marks, part.component))
        flat = np.concatenate([outline, hatching]).reshape(-1, 2)
        lines.append(_lift_to_plane(flat, plane).reshape(-1, 2, 3))
    return halves, np.concatenate(lines)


def _clip_triangles(triangles: Points, plane: float) -> tuple[Points, Points]:
    """What of triangles (F, 3, 3) lies behind y = plane, as triangles, and the segments (S, 2, 3) of the cut."""
    behind = triangles[:, :, 1] >= plane
    num = behind.sum(axis=1)
    alone = np.where(num == 1, behind.argmax(axis=1), (~behind).argmax(axis=1))  # the corner on a side of its own
    order = (alone[:, None] + np.arange(3)) % 3
    a, b, c = np.moveaxis(np.take_along_axis(triangles, order[:, :, None], axis=1), 1, 0)
    cut = (num == 1) | (num == 2)
    ab, ac = (_plane_crossing(a[cut], other[cut], plane) for other in (b, c))
    one, two = num[cut] == 1, num[cut] == 2
    b, c = b[cut], c[cut]
    pieces = [
        triangles[num == 3],
        np.stack([a[cut][one], ab[one], ac[one]], axis=1),
        np.stack([ab[two], b[two], c[two]], axis=1),
        np.stack([ab[two], c[two], ac[two]], axis=1),
    ]
    return np.concatenate(pieces), np.stack([ab, ac], axis=1)


def _plane_crossing(start: Points, end: Points, plane: float) -> Points:
    share = (plane - start[:, 1:2]) / (end[:, 1:2] - start[:, 1:2])
    return start + share * (end - start)


def _hatch(outline: Points, spacing: float, *, slant: float) -> Points:
    """Slanting lines (S, 2, 2) within a closed outline of sides (N, 2, 2), an even distance apart."""
    across = (outline[:, :, 0] + slant * outline[:, :, 1]) / spacing
    along = outline[:, :, 1] - slant * outline[:, :, 0]
    low, high = np.floor(across.min(axis=1)).astype(np.int64), np.floor(across.max(axis=1)).astype(np.int64)
    owner = np.repeat(np.arange(len(outline)), high - low)
    line = np.concatenate([np.arange(a + 1, b + 1) for a, b in zip(low, high)] or [low])
    share = (line - across[owner, 0]) / (across[owner, 1] - across[owner, 0])
    place = along[owner, 0] + share * (along[owner, 1] - along[owner, 0])
    order = np.lexsort((place, line))
    line, place = line[order], place[order]
    if len(line) % 2 or (line[::2] != line[1::2]).any():
        return np.zeros((0, 2, 2))  # the part is no closed body: its cut has no inside
    line, place = (line * spacing)[:, None], place[:, None]
    x, y = (line - slant * place) / 2, (slant * line + place) / 2
    return np.concatenate([x, y], axis=1).reshape(-1, 2, 2)


def _lift_to_plane(flat: Points, plane: float) -> Points:
    return np.stack([flat[:, 0], np.full(len(flat), plane), flat[:, 1]], axis=1)


def _bounding_box(parts: Sequence[Mesh]) -> tuple[Points, Points]:
    points = np.concatenate([part.vertices for part in parts])
    return points.min(axis=0), points.max(axis=0)
