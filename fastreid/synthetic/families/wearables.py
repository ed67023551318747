"""Families of things worn: shoes, eyewear, headsets, jewellery and bags."""

import numpy as np

from fastreid.synthetic.families.details import (
    Rng,
    bow,
    chance,
    count,
    grip_section,
    hole_rows,
    knob,
    mark,
    on_front,
    pick,
)
from fastreid.synthetic.geometry.mesh import Mesh, around, extrude, loft, named, ring, slab, torus, turn
from fastreid.synthetic.geometry.outlines import (
    Points,
    circle,
    curve,
    ellipse,
    lobed,
    polygon,
    rounded_rectangle,
    squircle,
)
from fastreid.synthetic.geometry.sweep import sweep


def shoe(rng: Rng) -> list[Mesh]:
    """A sole and an upper, with a shaft, a heel, straps or laces; the toe points to the left."""
    length, wide = 2.0, rng.uniform(0.55, 0.75)
    thick = rng.uniform(0.06, 0.22)
    parts = named("sole", _sole(rng.part(), length, wide, thick))
    rise = np.array([0.12, 0.3, 0.42, 0.62, 0.75, 0.7, 0.66]) * rng.uniform(0.8, 1.3)
    at = np.array([-0.97, -0.8, -0.5, -0.1, 0.3, 0.7, 0.95])
    widths = np.array([0.25, 0.75, 0.95, 0.8, 0.68, 0.72, 0.4]) * wide
    low_cut = chance(rng, 0.4)
    knots = curve(np.stack([at, widths, rise * (0.7 if low_cut else 1.0)], axis=1), per_span=4)
    rings = [_hump(across, up) + [x * length / 2, 0, thick] for x, across, up in knots]
    parts.append(loft(np.stack(rings)))
    top = float(knots[len(knots) * 2 // 3, 2]) + thick
    if chance(rng, 0.75):
        parts += named("shaft", _shaft(rng.part(), wide, top, length))
    fastening = rng.part()
    x, tall = np.linspace(-0.45, 0.1, count(fastening, 2, 6)), np.interp(np.linspace(-0.45, 0.1, 40), at, rise)
    if chance(fastening, 0.7):
        lace = grip_section(fastening.part(), rng.uniform(0.04, 0.1))
        for place in x:
            up = float(np.interp(place, np.linspace(-0.45, 0.1, 40), tall)) * (0.75 if low_cut else 1.05) + thick
            path = curve([(0, -wide * 0.3, up * 0.8), (0.04, 0, up), (0, wide * 0.3, up * 0.8)])
            parts += named("laces", [sweep(path, lace).moved(x=float(place))])
    if chance(rng, 0.5):
        badge = mark(rng.part(), rng.uniform(0.08, 0.16), 0.1).turned("x", 90)
        parts += named("mark", [badge.moved(x=rng.uniform(0.1, 0.5), y=-wide * 0.32, z=thick + 0.3)])
    return parts


def _hump(across: float, up: float) -> Points:
    """A section of an upper in the plane y-z, flat below."""
    turns = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    y, z = np.cos(turns) * across / 2, np.maximum(np.sin(turns), -0.02) * up
    return np.stack([0 * y, np.sign(y) * np.abs(y), z], axis=1)


def _sole(rng: Rng, length: float, wide: float, thick: float) -> list[Mesh]:
    outline = curve([(-1, 0), (-0.85, -0.35), (-0.45, -0.5), (0.2, -0.36), (0.8, -0.38), (1, 0), (0.8, 0.38),
                     (0.2, 0.4), (-0.45, 0.5), (-0.85, 0.35), (-1, 0)])[:-1] * [length / 2, wide]  # fmt: skip
    parts = [extrude(outline * rng.uniform(1.0, 1.08), thick)]
    if chance(rng, 0.4):
        parts.append(extrude(outline * 1.1, thick * 0.35))
    if chance(rng, 0.4):
        high = rng.uniform(0.1, 0.5)
        heel = rounded_rectangle(length * rng.uniform(0.12, 0.3), wide * 0.6, radius=0.1)
        parts.append(extrude(heel, high + 0.01).moved(x=length * 0.36, z=-high))
    else:
        cleat = pick(
            rng, slab(0.08, wide * 0.8, 0.06), slab(0.12, 0.12, 0.06), extrude(circle(0.06, num_sides=16), 0.06)
        )
        parts += [cleat.moved(x=float(x), z=-0.05) for x in np.linspace(-0.75, 0.85, count(rng, 4, 9)) * length / 2]
    return parts


def _shaft(rng: Rng, wide: float, top: float, length: float) -> list[Mesh]:
    tall, radius = rng.uniform(0.15, 1.2), wide * 0.42
    oval = ellipse(2.0, 1.6)
    side = [(radius * 1.05, 0), (radius, tall * 0.3), (radius * rng.uniform(0.95, 1.2), tall)]
    inner = [(r - 0.05, z) for r, z in side[::-1]]
    shaft = turn([*side, *inner], oval, closed=True).moved(x=length * 0.27, z=top * 0.6)
    parts = [shaft]
    if chance(rng, 0.5):
        parts.append(
            ring(radius, 0.05, rng.uniform(0.06, 0.16), outline=oval).moved(x=length * 0.27, z=top * 0.6 + tall)
        )
    if chance(rng, 0.4):
        loop = bow(rng.part(), 0.0, 0.2, reach=0.12, thickness=0.04)
        parts.append(loop.moved(x=length * 0.27 + radius, z=top * 0.6 + tall - 0.2))
    return parts


def eyewear(rng: Rng) -> list[Mesh]:
    """Two rims with lenses, a bridge, and arms that fold."""
    wide, tall = rng.uniform(0.5, 0.65), rng.uniform(0.3, 0.6)
    rim = _lens(rng.part()) * [wide, tall]
    bar = grip_section(rng.part(), rng.uniform(0.03, 0.09))
    parts = []
    middle = wide * rng.uniform(0.58, 0.7)
    for side in (-1, 1):
        flat = rim * [side, 1]
        path = np.stack([flat[:, 0] + side * middle, 0 * flat[:, 0], flat[:, 1]], axis=1)
        parts.append(sweep(path, bar, closed=True))
        lens = extrude((flat if side > 0 else flat[::-1]) * 0.98, 0.015).turned("x", 90).moved(x=side * middle)
        parts += named("lenses", [lens])
    low = rng.uniform(-0.1, 0.3) * tall
    gap = middle - wide / 2
    for z in (low, low + tall * 0.2)[: count(rng, 1, 2)]:
        bridge = sweep(curve([(-gap - 0.05, 0, z), (0, -0.03, z + rng.uniform(0.0, 0.12)), (gap + 0.05, 0, z)]), bar)
        parts += named("bridge", [bridge])
    temple = rng.part()
    section = grip_section(temple.part(), temple.uniform(0.05, 0.12))
    drop, reach = temple.uniform(0.1, 0.3), temple.uniform(1.2, 1.6)
    x, z = middle + wide / 2 + 0.01, tall * rng.uniform(0.0, 0.3)
    path = curve([(0, 0, z), (0.02, reach * 0.5, z + 0.02), (0, reach * 0.85, z), (-0.04, reach, z - drop)])
    arm = sweep(path, section, scale=np.linspace(1.0, temple.uniform(0.5, 1.2), len(path)))
    parts += named("arm", [arm.moved(x=x)]) + named("arm left", [arm.scaled(-1, 1, 1).moved(x=-x)])
    hinge = slab(0.08, 0.1, 0.1, radius=0.02)
    return [*parts, hinge.moved(x=x, z=z - 0.05), hinge.moved(x=-x, z=z - 0.05)]


def _lens(rng: Rng) -> Points:
    """An outline of width and height 1."""
    kind = pick(rng, "round", "square", "drop", "many", "cat")
    if kind == "round":
        return ellipse(1.0, 1.0)
    if kind == "square":
        return rounded_rectangle(1.0, 1.0, radius=rng.uniform(0.1, 0.4))
    if kind == "many":
        return polygon(count(rng, 6, 8), radius=0.52)
    bulge = rng.uniform(0.1, 0.35) * (1 if kind == "drop" else -1)
    flat = squircle(power=2.6) / 2
    return flat * (1 + bulge * np.stack([-flat[:, 1], flat[:, 0]], axis=1))


def headset(rng: Rng) -> list[Mesh]:
    """A band over the head with two cups."""
    radius = rng.uniform(0.8, 1.0)
    turns = np.linspace(-0.15, np.pi + 0.15, 25)
    path = np.stack([radius * np.cos(turns), 0 * turns, radius * rng.uniform(0.9, 1.2) * np.sin(turns)], axis=1)
    band = rng.part()
    parts = named("band", [sweep(path, rounded_rectangle(0.05, band.uniform(0.1, 0.35), radius=0.02))])
    if chance(band, 0.5):
        inner = sweep(path[5:-5] * [0.94, 1, 0.94], rounded_rectangle(0.08, 0.2, radius=0.03))
        parts += named("cushion", [inner])
    cup = named("cups", _cup(rng.part()))
    for side in (-1, 1):
        parts += [part.turned("y", 90 * side).moved(x=side * radius * 0.97, z=-0.2) for part in cup]
    if chance(rng, 0.4):
        boom = curve([(-radius, 0, -0.3), (-radius * 0.9, -0.5, -0.6), (-radius * 0.5, -0.9, -0.7)])
        parts += named("boom", [sweep(boom, circle(0.03, num_sides=12)), knob(rng.part(), 0.06).moved(*boom[-1])])
    return parts


def _cup(rng: Rng) -> list[Mesh]:
    outline = pick(rng, circle(), ellipse(1.6, 2.1), squircle(power=3.5), lobed(8, depth=0.08))
    size, deep = rng.uniform(0.3, 0.45), rng.uniform(0.12, 0.3)
    shell = turn(
        [(size, 0), (size, deep * 0.6), *curve([(size * 0.9, deep * 0.8), (size * 0.5, deep), (0, deep)])], outline
    )
    pad = torus(size * 0.8, rng.uniform(0.1, 0.2), z=-0.03, outline=outline)
    extra = pick(rng, mark(rng.part(), size * 0.5, 0.05).moved(z=deep - 0.03), ring(size * 0.5, 0.05, 0.06, z=deep))
    return [shell, pad, extra]


def jewel(rng: Rng) -> list[Mesh]:
    """A finger ring with a stone and its setting."""
    thick = rng.uniform(0.1, 0.3)
    band = rng.part()
    section = pick(band, circle(thick / 2, num_sides=16), rounded_rectangle(thick * 0.6, thick * 1.6, radius=0.03))
    turns = np.arange(48) * (2 * np.pi / 48)
    path = np.stack([np.cos(turns), 0 * turns, np.sin(turns)], axis=1)
    parts = named("band", [sweep(path, section, closed=True)])
    if chance(band, 0.4):
        bead = turn([(0, -0.07), (0.07, 0), (0, 0.07)], circle(num_sides=8))
        parts += named("band", [part.turned("x", 90) for part in around(bead.moved(x=1.0), 24)])
    stone, size = rng.part(), rng.uniform(0.25, 0.55)
    outline = pick(stone, polygon(8), polygon(6), ellipse(2.0, 1.5, num_sides=16), polygon(4), circle(num_sides=16))
    gem = turn([(0, -0.7 * size), (size, 0.15 * size), (0.62 * size, 0.5 * size), (0, 0.5 * size)], outline)
    lift = 1 + thick / 2 + 0.6 * size
    parts += named("stone", [gem.moved(z=lift)])
    prong = sweep(
        [(0.1, 0, -0.7 * size), (size * 0.98, 0, 0.1 * size), (size * 0.85, 0, 0.4 * size)], circle(0.045, num_sides=12)
    )
    parts += named("setting", [part.moved(z=lift) for part in around(prong, count(rng, 3, 6), start=30)])
    beside = rng.part()
    if chance(beside, 0.6):
        small = gem.scaled(0.45)
        for angle in np.linspace(18, 24, 1) * np.arange(1, count(beside, 2, 4)):
            parts += named(
                "small stones", [small.moved(z=lift - 0.3).turned("y", float(side * (angle + 12))) for side in (-1, 1)]
            )
    return parts


def bag(rng: Rng) -> list[Mesh]:
    """A soft body that narrows upwards, with handles, a flap, pockets and feet."""
    wide, deep, tall = rng.uniform(0.8, 1.5), rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.3)
    taper, radius = rng.uniform(0.5, 1.0), rng.uniform(0.05, 0.2)
    levels = curve(
        [(1.0, 0.9, 0.0), (1.02, 1.0, 0.3), (0.97, 0.9, 0.7), (rng.uniform(0.8, 1.0), taper, 1.0)], per_span=4
    )
    rings = []
    for across, along, z in levels:
        flat = rounded_rectangle(wide * across, deep * along, radius=radius)
        rings.append(np.concatenate([flat, np.full((len(flat), 1), z * tall)], axis=1))
    parts = [loft(np.stack(rings))]
    grip = rng.part()
    handle = bow(grip, -wide * 0.22, wide * 0.22, reach=grip.uniform(0.2, 0.6), thickness=0.07).turned("y", -90)
    sides = pick(grip, (0.0,), (-deep * taper * 0.4, deep * taper * 0.4))
    parts += named("handle", [handle.moved(y=y, z=tall - 0.02) for y in sides])
    front = rng.part()
    if chance(front, 0.5):
        flap = slab(wide * 0.9, tall * front.uniform(0.3, 0.7), 0.05, radius=0.1, bevel=0.015)
        parts += named("lid", [on_front(flap, -deep * 0.5 + 0.02, tall * 0.62)])
        parts += named("clasp", [on_front(mark(front.part(), 0.07, 0.06), -deep * 0.53, tall * 0.4)])
    else:
        pocket = extrude(rounded_rectangle(wide * 0.7, tall * 0.45, radius=0.08), 0.06)
        holes = hole_rows(front.part(), wide * 0.5, tall * 0.3)
        holed = extrude(rounded_rectangle(wide * 0.7, tall * 0.45, radius=0.08), 0.06, holes=holes)
        parts += named("pocket", [on_front(pick(front, pocket, holed), -deep * 0.46, tall * 0.36)])
    if chance(rng, 0.4):
        strap = curve(
            [
                (-wide * 0.48, 0, tall * 0.8),
                (-wide * 0.3, 0, tall * 1.5),
                (wide * 0.3, 0, tall * 1.5),
                (wide * 0.48, 0, tall * 0.8),
            ]
        )
        parts += named("strap", [sweep(strap, rounded_rectangle(0.04, 0.14, radius=0.01))])
    if chance(rng, 0.4):
        stud = knob(rng.part(), 0.05).turned("x", 180)
        parts += named("feet", [stud.moved(x=x * wide, y=y * deep) for x in (-0.35, 0.35) for y in (-0.3, 0.3)])
    return parts
