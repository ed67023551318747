"""Motifs of marks, as strokes in the plane: fixtures, seams and patterns.

Each function returns segments (S, 2, 2) around the origin: fixtures are inside of -1..1, patterns fill it.
"""

import numpy as np

from fastreid.synthetic.geometry.outlines import Points, circle, ellipse, polygon, rounded_rectangle, squircle, star
from fastreid.synthetic.rendering.glyphs import GLYPHS
from fastreid.synthetic.sampling import PartRng, choose, randint

LETTERS = sorted(set(GLYPHS) - {" ", ".", "-"})


def sample_fixture(rng: PartRng) -> Points:
    """Sample a fixture: a screw, a button, vents, tick marks, lettering, an emblem or a glint."""
    return choose(rng, _screw, _button, _vents, _tick_marks, _lettering, _lettering, _emblem, _glint, _glint)(rng)


def _screw(rng: PartRng) -> Points:
    """Return a screw head with a slot, a cross or a hexagonal socket."""
    sockets = [
        np.array([[[-0.6, 0.0], [0.6, 0.0]]]),
        np.array([[[-0.5, 0.0], [0.5, 0.0]], [[0.0, -0.5], [0.0, 0.5]]]),
        _closed_segments(polygon(6, radius=0.5)),
    ]
    head = [_closed_segments(circle(1.0, num_sides=24)), sockets[int(rng.integers(3))]]
    return _rotate(np.concatenate(head), rng.uniform(0, 180))


def _button(rng: PartRng) -> Points:
    """Return up to three nested outlines."""
    outline = _sample_outline(rng)
    sizes = [1.0, rng.uniform(0.75, 0.92), rng.uniform(0.2, 0.6)][: randint(rng, 1, 3)]
    return np.concatenate([_closed_segments(outline * size) for size in sizes])


def _vents(rng: PartRng) -> Points:
    """Return rows of slots or holes."""
    columns, rows = randint(rng, 1, 6), randint(rng, 2, 7)
    cell = np.array([1 / columns, 1 / rows])
    hole = choose(rng, circle(1.0, num_sides=12) * cell.min(), rounded_rectangle(2, 2, radius=0.9) * cell) * 0.7
    shift = cell[0] * choose(rng, 0.0, 0.5)
    centers = [
        [(2 * column + 1) * cell[0] - 1 + shift * (row % 2), (2 * row + 1) * cell[1] - 1]
        for row in range(rows)
        for column in range(columns)
    ]
    return _repeat_at(_closed_segments(hole), np.array(centers)) * [0.8, 1.0]


def _tick_marks(rng: PartRng) -> Points:
    """Return ticks around a dial or along a ruler, every fifth one longer."""
    num_ticks, inner_radii = randint(rng, 8, 40), np.array([0.8, 0.9, 0.9, 0.9, 0.9])
    inner = inner_radii[np.arange(num_ticks) % 5]
    if rng.random() < 0.5:
        angles = np.arange(num_ticks) * (2 * np.pi / num_ticks)
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return np.stack([directions * inner[:, None], directions], axis=1)
    x = np.linspace(-1, 1, num_ticks)
    return np.stack([np.stack([x, 4 * (inner - 0.9)], axis=1), np.stack([x, np.full(num_ticks, 0.3)], axis=1)], axis=1)


def _lettering(rng: PartRng) -> Points:
    """Return one or two lines of random letters."""
    lines = []
    for row in range(randint(rng, 1, 2)):
        x_offset, strokes = 0.0, []
        for letter in rng.choice(LETTERS, size=randint(rng, 3, 9)):
            width, paths = GLYPHS[letter]
            strokes += [_open_segments(np.array(path)) + [x_offset, 9.0 * row] for path in paths]
            x_offset += width + 1.8
        lines.append(np.concatenate(strokes) - [x_offset / 2, 0])
    text = np.concatenate(lines)
    lettering: Points = text / np.abs(text[..., 0]).max() - [0, 0.1]
    return lettering


def _emblem(rng: PartRng) -> Points:
    """Return a star, polygon or squircle, usually in a frame."""
    shape = choose(rng, star(randint(rng, 4, 7), depth=0.5), polygon(randint(rng, 3, 5)), squircle(power=1.2))
    frame = [_closed_segments(_sample_outline(rng))] if rng.random() < 0.7 else []
    return np.concatenate([_closed_segments(shape * 0.6), *frame])


def _glint(rng: PartRng) -> Points:
    """Return a few slanted strokes, as on glass and polished faces."""
    num = randint(rng, 2, 7)
    across = np.linspace(-0.7, 0.7, num) + rng.normal(scale=0.05, size=num)
    center, half = rng.uniform(-0.3, 0.3, size=num), rng.uniform(0.1, 0.7, size=num)
    slant = rng.uniform(0.3, 1.2)
    ends = [np.stack([across + slant * y, y], axis=1) for y in (center - half, center + half)]
    return np.stack(ends, axis=1) * [0.8, -1.0]


def sample_seam(rng: PartRng) -> Points:
    """Sample an open or closed seam: plain, double, stitched or both."""
    if rng.random() < 0.5:
        offset = rng.uniform(-0.8, 0.8)
        bend = rng.uniform(-0.15, 0.15)
        x = np.linspace(-1, 1, 17)
        path = _open_segments(np.stack([x, offset + bend * np.cos(np.pi / 2 * x)], axis=1))
        path = path[..., ::-1] if rng.random() < 0.5 else path
    else:
        path = _closed_segments(_sample_outline(rng) * rng.uniform(0.7, 0.95))
    kind = choose(rng, "plain", "double", "stitched", "stitched", "both")
    second_path = path * (1 - rng.uniform(0.02, 0.06))
    if kind == "plain":
        return path
    if kind == "double":
        return np.concatenate([path, second_path])
    stitches = _stitch(second_path, rng.uniform(0.02, 0.06))
    return stitches if kind == "stitched" else np.concatenate([path, stitches])


def sample_pattern(rng: PartRng) -> Points:
    """Sample a pattern: woven, knitted, grained, ribbed, scaled, dotted or speckled."""
    return choose(rng, _woven_mesh, _knit, _wood_grain, _ribs, _scales, _dots, _short_strokes)(rng)


def _sample_outline(rng: PartRng) -> Points:
    return choose(
        rng,
        circle(1.0, num_sides=32),
        rounded_rectangle(2.0, rng.uniform(0.6, 2.0), radius=rng.uniform(0.05, 0.4)),
        ellipse(2.0, rng.uniform(0.8, 1.6), num_sides=32),
    )


def _woven_mesh(rng: PartRng) -> Points:
    """Return two sets of crossing parallel lines."""
    num = randint(rng, 8, 24)
    offsets = np.linspace(-1.4, 1.4, num)
    ones, ends = np.ones(num), np.array([-1.4, 1.4])
    across = np.stack([np.stack([ones * end, offsets], axis=1) for end in ends], axis=1)
    return _rotate(np.concatenate([across, across[..., ::-1]]), choose(rng, 0.0, 45.0, 30.0))


def _knit(rng: PartRng) -> Points:
    """Return rows of V-shaped stitches."""
    size = 1 / randint(rng, 7, 16)
    stitch = _open_segments(np.array([(-0.8, -0.8), (0.0, 0.5), (0.8, -0.8)]) * size)
    return _repeat_at(stitch, _grid(2 * size, 2 * size))


def _wood_grain(rng: PartRng) -> Points:
    """Return the grain of wood: long wavy lines with gaps."""
    x, lines = np.linspace(-1, 1, 33), []
    swing, speed, phase = rng.uniform(0.02, 0.08), rng.uniform(2, 6, size=2), rng.uniform(0, 6, size=2)
    for y in np.linspace(-1, 1, randint(rng, 8, 22)):
        wave = y + swing * (np.sin(speed[0] * x + phase[0] + y) + np.sin(speed[1] * x + phase[1] - 3 * y))
        path = _open_segments(np.stack([x, wave], axis=1))
        lines.append(path[np.sin(rng.uniform(2, 7) * x[1:] + rng.uniform(0, 6)) > -0.5])
    return np.concatenate(lines)


def _ribs(rng: PartRng) -> Points:
    """Return parallel lines, horizontal or vertical."""
    offsets = np.linspace(-1, 1, randint(rng, 10, 40))
    if rng.random() < 0.4:  # pairs of ribs
        offsets = np.sort(np.concatenate([offsets, offsets + 0.2 * (offsets[1] - offsets[0])]))
    ends = np.array([-1.0, 1.0]) * rng.uniform(0.6, 1.0)
    lines = np.stack([np.stack([np.full(len(offsets), end), offsets], axis=1) for end in ends], axis=1)
    return lines[..., ::-1] if rng.random() < 0.5 else lines


def _scales(rng: PartRng) -> Points:
    """Return rows of half circles, as fish scales or roof tiles."""
    size = 1 / randint(rng, 5, 12)
    angles = np.linspace(0, np.pi, 7)
    arc = _open_segments(np.stack([np.cos(angles), np.sin(angles)], axis=1) * size)
    return _repeat_at(arc, _grid(2 * size, size, offset=size))


def _dots(rng: PartRng) -> Points:
    """Return a grid of small circles."""
    size = 1 / randint(rng, 6, 14)
    small = _closed_segments(circle(size * rng.uniform(0.25, 0.6), num_sides=8))
    return _repeat_at(small, _grid(2 * size, 2 * size, offset=choose(rng, 0.0, size)))


def _short_strokes(rng: PartRng) -> Points:
    """Return short strokes in random directions, as on leather or stone."""
    num = randint(rng, 60, 300)
    centers, half_strokes = rng.uniform(-1, 1, size=(num, 2)), rng.normal(scale=0.02, size=(num, 2))
    return np.stack([centers - half_strokes, centers + half_strokes], axis=1)


def _grid(across: float, down: float, *, offset: float = 0.0) -> Points:
    """Return grid points (N, 2) that fill -1..1; every other row is shifted by `offset`."""
    xs, ys = np.arange(-1, 1 + across / 2, across), np.arange(-1, 1 + down / 2, down)
    points = np.stack(np.meshgrid(xs, ys), axis=-1)
    points[1::2, :, 0] += offset
    return points.reshape(-1, 2)


def _stitch(path: Points, length: float) -> Points:
    """Return dashes along segments (S, 2, 2) with a period of about `length`; a dash is 0.6 of it."""
    direction = path[:, 1] - path[:, 0]
    counts = np.maximum(np.round(np.linalg.norm(direction, axis=1) / length), 1).astype(int)
    owner = np.repeat(np.arange(len(path)), counts)
    step = np.concatenate([np.arange(num) for num in counts]) / counts[owner]
    t = np.stack([step, step + 0.6 / counts[owner]], axis=1)
    return path[owner, :1] + t[:, :, None] * direction[owner][:, None]


def _repeat_at(segments: Points, spots: Points) -> Points:
    """Return copies of segments (S, 2, 2) at each of the points (N, 2)."""
    return (segments[None] + spots[:, None, None]).reshape(-1, 2, 2)


def _closed_segments(outline: Points) -> Points:
    """Return the sides (N, 2, 2) of a closed outline."""
    return np.stack([outline, np.roll(outline, -1, axis=0)], axis=1)


def _open_segments(path: Points) -> Points:
    """Return the sides (N - 1, 2, 2) of an open path."""
    return np.stack([path[:-1], path[1:]], axis=1)


def _rotate(segments: Points, degrees: float) -> Points:
    """Rotate segments about the origin."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotated: Points = segments @ np.array([[cos, sin], [-sin, cos]])
    return rotated
