"""What lies on surfaces, as strokes of a pen in the plane: screws, buttons, vents, scales, writing, stitches, patterns.

Each gives segments (S, 2, 2) about 0: a fitting lies within -1..1, a pattern fills it.
"""

import numpy as np

from fastreid.synthetic.geometry.outlines import Points, circle, ellipse, polygon, rounded_rectangle, squircle, star
from fastreid.synthetic.rendering.glyphs import GLYPHS
from fastreid.synthetic.sampling import PartRng, choose, randint

LETTERS = sorted(set(GLYPHS) - {" ", ".", "-"})


def sample_fixture(rng: PartRng) -> Points:
    """A small thing that is there once or in a row: a screw, a button, vents, a scale, writing, an emblem or a glint."""
    return choose(rng, _screw, _button, _vents, _tick_marks, _lettering, _lettering, _emblem, _glint, _glint)(rng)


def _screw(rng: PartRng) -> Points:
    """A head with a slot, a cross or a socket."""
    sockets = [
        np.array([[[-0.6, 0.0], [0.6, 0.0]]]),
        np.array([[[-0.5, 0.0], [0.5, 0.0]], [[0.0, -0.5], [0.0, 0.5]]]),
        _closed_segments(polygon(6, radius=0.5)),
    ]
    head = [_closed_segments(circle(1.0, num_sides=24)), sockets[int(rng.integers(3))]]
    return _rotate(np.concatenate(head), rng.uniform(0, 180))


def _button(rng: PartRng) -> Points:
    """One outline inside the other."""
    outline = _sample_outline(rng)
    sizes = [1.0, rng.uniform(0.75, 0.92), rng.uniform(0.2, 0.6)][: randint(rng, 1, 3)]
    return np.concatenate([_closed_segments(outline * size) for size in sizes])


def _vents(rng: PartRng) -> Points:
    """Rows of slots or holes."""
    columns, rows = randint(rng, 1, 6), randint(rng, 2, 7)
    room = np.array([1 / columns, 1 / rows])
    hole = choose(rng, circle(1.0, num_sides=12) * room.min(), rounded_rectangle(2, 2, radius=0.9) * room) * 0.7
    shift = room[0] * choose(rng, 0.0, 0.5)
    spots = [
        [(2 * column + 1) * room[0] - 1 + shift * (row % 2), (2 * row + 1) * room[1] - 1]
        for row in range(rows)
        for column in range(columns)
    ]
    return _repeat_at(_closed_segments(hole), np.array(spots)) * [0.8, 1.0]


def _tick_marks(rng: PartRng) -> Points:
    """Short strokes around a dial or along a rule, every fifth longer."""
    num, long = randint(rng, 8, 40), np.array([0.8, 0.9, 0.9, 0.9, 0.9])
    inner = long[np.arange(num) % 5]
    if rng.random() < 0.5:
        turns = np.arange(num) * (2 * np.pi / num)
        way = np.stack([np.cos(turns), np.sin(turns)], axis=1)
        return np.stack([way * inner[:, None], way], axis=1)
    x = np.linspace(-1, 1, num)
    return np.stack([np.stack([x, 4 * (inner - 0.9)], axis=1), np.stack([x, np.full(num, 0.3)], axis=1)], axis=1)


def _lettering(rng: PartRng) -> Points:
    """A line or two of letters that say nothing."""
    lines = []
    for row in range(randint(rng, 1, 2)):
        right, strokes = 0.0, []
        for letter in rng.choice(LETTERS, size=randint(rng, 3, 9)):
            width, paths = GLYPHS[letter]
            strokes += [_open_segments(np.array(path)) + [right, 9.0 * row] for path in paths]
            right += width + 1.8
        lines.append(np.concatenate(strokes) - [right / 2, 0])
    text = np.concatenate(lines)
    return text / np.abs(text[..., 0]).max() - [0, 0.1]


def _emblem(rng: PartRng) -> Points:
    """A sign, mostly in a frame."""
    sign = choose(rng, star(randint(rng, 4, 7), depth=0.5), polygon(randint(rng, 3, 5)), squircle(power=1.2))
    frame = [_closed_segments(_sample_outline(rng))] if rng.random() < 0.7 else []
    return np.concatenate([_closed_segments(sign * 0.6), *frame])


def _glint(rng: PartRng) -> Points:
    """A few slanting strokes, as glass and polished faces have them."""
    num = randint(rng, 2, 7)
    across = np.linspace(-0.7, 0.7, num) + rng.normal(scale=0.05, size=num)
    middle, half = rng.uniform(-0.3, 0.3, size=num), rng.uniform(0.1, 0.7, size=num)
    slant = rng.uniform(0.3, 1.2)
    ends = [np.stack([across + slant * y, y], axis=1) for y in (middle - half, middle + half)]
    return np.stack(ends, axis=1) * [0.8, -1.0]


def sample_seam(rng: PartRng) -> Points:
    """A seam across or around, plain, double or stitched."""
    if rng.random() < 0.5:
        at = rng.uniform(-0.8, 0.8)
        bend = rng.uniform(-0.15, 0.15)
        x = np.linspace(-1, 1, 17)
        path = _open_segments(np.stack([x, at + bend * np.cos(np.pi / 2 * x)], axis=1))
        path = path[..., ::-1] if rng.random() < 0.5 else path
    else:
        path = _closed_segments(_sample_outline(rng) * rng.uniform(0.7, 0.95))
    kind = choose(rng, "plain", "double", "stitched", "stitched", "both")
    beside = path * (1 - rng.uniform(0.02, 0.06))
    if kind == "plain":
        return path
    if kind == "double":
        return np.concatenate([path, beside])
    stitches = _stitch(beside, rng.uniform(0.02, 0.06))
    return stitches if kind == "stitched" else np.concatenate([path, stitches])


def sample_pattern(rng: PartRng) -> Points:
    """A surface that is woven, knitted, grained, ribbed, scaled or dotted all over."""
    return choose(rng, _woven_mesh, _knit, _wood_grain, _ribs, _scales, _dots, _short_strokes)(rng)


def _sample_outline(rng: PartRng) -> Points:
    return choose(
        rng,
        circle(1.0, num_sides=32),
        rounded_rectangle(2.0, rng.uniform(0.6, 2.0), radius=rng.uniform(0.05, 0.4)),
        ellipse(2.0, rng.uniform(0.8, 1.6), num_sides=32),
    )


def _woven_mesh(rng: PartRng) -> Points:
    num = randint(rng, 8, 24)
    at = np.linspace(-1.4, 1.4, num)
    ones, ends = np.ones(num), np.array([-1.4, 1.4])
    across = np.stack([np.stack([ones * end, at], axis=1) for end in ends], axis=1)
    return _rotate(np.concatenate([across, across[..., ::-1]]), choose(rng, 0.0, 45.0, 30.0))


def _knit(rng: PartRng) -> Points:
    size = 1 / randint(rng, 7, 16)
    stitch = _open_segments(np.array([(-0.8, -0.8), (0.0, 0.5), (0.8, -0.8)]) * size)
    return _repeat_at(stitch, _grid(2 * size, 2 * size))


def _wood_grain(rng: PartRng) -> Points:
    """Wood: long lines that swing about and break off."""
    x, lines = np.linspace(-1, 1, 33), []
    swing, speed, phase = rng.uniform(0.02, 0.08), rng.uniform(2, 6, size=2), rng.uniform(0, 6, size=2)
    for y in np.linspace(-1, 1, randint(rng, 8, 22)):
        wave = y + swing * (np.sin(speed[0] * x + phase[0] + y) + np.sin(speed[1] * x + phase[1] - 3 * y))
        path = _open_segments(np.stack([x, wave], axis=1))
        lines.append(path[np.sin(rng.uniform(2, 7) * x[1:] + rng.uniform(0, 6)) > -0.5])
    return np.concatenate(lines)


def _ribs(rng: PartRng) -> Points:
    at = np.linspace(-1, 1, randint(rng, 10, 40))
    if rng.random() < 0.4:  # in pairs
        at = np.sort(np.concatenate([at, at + 0.2 * (at[1] - at[0])]))
    ends = np.array([-1.0, 1.0]) * rng.uniform(0.6, 1.0)
    lines = np.stack([np.stack([np.full(len(at), end), at], axis=1) for end in ends], axis=1)
    return lines[..., ::-1] if rng.random() < 0.5 else lines


def _scales(rng: PartRng) -> Points:
    size = 1 / randint(rng, 5, 12)
    turns = np.linspace(0, np.pi, 7)
    arc = _open_segments(np.stack([np.cos(turns), np.sin(turns)], axis=1) * size)
    return _repeat_at(arc, _grid(2 * size, size, offset=size))


def _dots(rng: PartRng) -> Points:
    size = 1 / randint(rng, 6, 14)
    small = _closed_segments(circle(size * rng.uniform(0.25, 0.6), num_sides=8))
    return _repeat_at(small, _grid(2 * size, 2 * size, offset=choose(rng, 0.0, size)))


def _short_strokes(rng: PartRng) -> Points:
    """Short strokes any which way, as on leather or stone."""
    num = randint(rng, 60, 300)
    middle, way = rng.uniform(-1, 1, size=(num, 2)), rng.normal(scale=0.02, size=(num, 2))
    return np.stack([middle - way, middle + way], axis=1)


def _grid(across: float, down: float, *, offset: float = 0.0) -> Points:
    """Spots (N, 2) that fill -1..1; every other row is shifted by `offset`."""
    xs, ys = np.arange(-1, 1 + across / 2, across), np.arange(-1, 1 + down / 2, down)
    spots = np.stack(np.meshgrid(xs, ys), axis=-1)
    spots[1::2, :, 0] += offset
    return spots.reshape(-1, 2)


def _stitch(path: Points, length: float) -> Points:
    """Dashes of about that length along segments (S, 2, 2), two thirds of the way."""
    way = path[:, 1] - path[:, 0]
    counts = np.maximum(np.round(np.linalg.norm(way, axis=1) / length), 1).astype(int)
    owner = np.repeat(np.arange(len(path)), counts)
    step = np.concatenate([np.arange(num) for num in counts]) / counts[owner]
    shares = np.stack([step, step + 0.6 / counts[owner]], axis=1)
    return path[owner, :1] + shares[:, :, None] * way[owner][:, None]


def _repeat_at(segments: Points, spots: Points) -> Points:
    """Segments (S, 2, 2) at each of (N, 2) spots."""
    return (segments[None] + spots[:, None, None]).reshape(-1, 2, 2)


def _closed_segments(outline: Points) -> Points:
    """The sides (N, 2, 2) of a closed outline."""
    return np.stack([outline, np.roll(outline, -1, axis=0)], axis=1)


def _open_segments(path: Points) -> Points:
    """The sides (N - 1, 2, 2) of an open path."""
    return np.stack([path[:-1], path[1:]], axis=1)


def _rotate(segments: Points, degrees: float) -> Points:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return segments @ np.array([[cos, sin], [-sin, cos]])
