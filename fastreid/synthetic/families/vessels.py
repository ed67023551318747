"""Families of turned things: bottles, pots and lamps."""

import numpy as np

from fastreid.synthetic.families.details import (
    Rng,
    bow,
    chance,
    count,
    edge,
    feet,
    grip_section,
    knob,
    mark,
    on_front,
    pick,
    rims,
    section,
)
from fastreid.synthetic.geometry.mesh import Mesh, around, box, named, ring, slab, torus, turn
from fastreid.synthetic.geometry.outlines import Points, circle, curve, filleted, lobed, polygon, toothed
from fastreid.synthetic.geometry.sweep import sweep, thread

SCREWED = 0.08  # room in what closes a neck from which on it may be screwed on


def bottle(rng: Rng) -> list[Mesh]:
    """A standing body with shoulders, a neck and a closure."""
    outline, height = section(rng.part()), rng.uniform(1.2, 3.0)
    side = _body_side(rng.part(), height)
    neck = rng.uniform(0.12, 0.3)
    shoulder = side[-1][0]
    top = height + rng.uniform(0.15, 0.6)
    slope = pick(rng, "cone", "round", "flat")
    if slope == "cone":
        side = [*side, (neck, top)]
    elif slope == "round":
        side = [*side[:-1], *curve([side[-1], (shoulder * 0.85, height + 0.6 * (top - height)), (neck, top)])]
    else:
        side = [*side, (shoulder * 0.9, height + 0.06), (neck, height + 0.06)]
        top = height + 0.06
    parts = [turn(filleted([(0, 0), *side, (0, side[-1][1])], edge(rng, 0.12)), outline)]
    tall = rng.uniform(0.15, 0.6)
    closure, room = _closure(rng.part(), neck)
    sunk = min(0.5 * tall, 0.9 * room)  # how far the neck reaches into what closes it
    parts.append(turn([(neck * 0.95, top - 0.1), (neck * 0.95, top + tall * 0.5 + sunk)]))
    if room >= SCREWED and chance(rng, 0.7):
        ridge = thread(neck * 0.95, neck * 0.09, sunk * rng.uniform(0.22, 0.35), sunk * 0.95)
        parts.append(ridge.moved(z=top + tall * 0.5))
    if chance(rng, 0.5):
        parts.append(ring(neck * 0.9, 0.08, 0.06, z=top + tall * 0.3))
    parts += named("cap", [part.moved(z=top + tall * 0.5) for part in closure])
    parts += [
        ring(0.5, rng.uniform(0.02, 0.1), rng.uniform(0.03, 0.12), z=z, outline=outline)
        for z in rng.uniform(0.2, height, count(rng, 0, 3))
    ]
    if chance(rng, 0.4):
        span = rng.uniform(0.4, 0.8) * height
        handle = bow(rng.part(), 0.25, 0.25 + span, reach=rng.uniform(0.25, 0.5), thickness=0.14)
        parts += named("handle", [handle.moved(x=0.42)])
    if chance(rng, 0.6):
        size = rng.uniform(0.12, 0.3)
        badge = on_front(mark(rng.part(), size, 0.35), _front_of(outline) * 0.5 + 0.3, height * rng.uniform(0.3, 0.7))
        parts += named("mark", [badge])
    return parts


def _body_side(rng: Rng, height: float) -> list[tuple[float, float]]:
    """(radius, height) up the side of a body of about radius .5."""
    kind = pick(rng, "straight", "waist", "wavy", "taper", "grooved")
    low, high = rng.uniform(0.38, 0.55), rng.uniform(0.38, 0.55)
    foot = [(low - 0.05, 0.0), (low, 0.06)] if chance(rng, 0.5) else [(low, 0.0)]
    if kind == "straight":
        return [*foot, (low, height)]
    if kind == "taper":
        return [*foot, (high * pick(rng, 0.6, 1.3), height)]
    if kind == "grooved":
        num, deep = count(rng, 2, 6), rng.uniform(0.03, 0.07)
        levels = np.linspace(0.15, 0.9, num) * height
        grooves = [(low - d, z + dz) for z in levels for d, dz in ((0, -0.05), (deep, -0.04), (deep, 0.04), (0, 0.05))]
        return [*foot, *grooves, (low, height)]
    inner = 1 if kind == "waist" else count(rng, 2, 4)
    levels = np.linspace(0.06, height, inner + 2)[1:-1]
    knots = [(low, 0.06), *((rng.uniform(0.3, 0.6), z) for z in levels), (high, height)]
    return [foot[0], *map(tuple, curve(knots))]


def _closure(rng: Rng, neck: float) -> tuple[list[Mesh], float]:
    """What closes a neck, its underside at z = 0; and how high the room for the neck within it is."""
    kind = pick(rng, "screw", "dome", "cone", "pump", "loop", "stopper", "spray")
    wide = neck * rng.uniform(1.1, 1.6)
    tall = rng.uniform(0.2, 0.6)
    if kind == "screw":
        outline = pick(rng, circle(), toothed(count(rng, 14, 24), depth=0.07), polygon(count(rng, 6, 10)))
        wide = max(wide, 1.25 * neck)  # the flats of a polygon lie further in than its corners
        side = [(wide, 0), (wide, tall), (wide * 0.93, tall + 0.03), (0, tall + 0.03)]
        return [turn(filleted(side, edge(rng, 0.4 * wide)), outline)], 0.7 * tall
    if kind == "dome":
        return [turn([(wide, 0), *curve([(wide, tall * 0.4), (wide * 0.75, tall * 0.9), (0, tall * 1.1)])])], 0.4 * tall
    if kind == "cone":
        return [turn([(wide, 0), (wide, 0.12), (wide * 0.5, 0.2), (0.04, 0.2 + tall), (0.0, 0.2 + tall)])], 0.12
    if kind == "stopper":
        return [turn([(wide, 0), (wide, 0.08)]), knob(rng.part(), wide * 1.2).moved(z=0.08)], 0.06
    if kind == "loop":
        eye = torus(wide * 0.9, 0.1).turned("x", 90).moved(z=0.2 + wide * 0.8)
        return [turn([(wide, 0), (wide, 0.2)]), eye], 0.06
    collar = turn([(wide, 0), (wide, 0.2), (wide * 0.5, 0.26)])
    if kind == "pump":
        reach = rng.uniform(0.3, 0.7)
        path = [
            (0, 0, 0.1),
            (0, 0, 0.3 + tall),
            *curve([(0.03, 0, 0.36 + tall), (reach, 0, 0.36 + tall), (reach + 0.1, 0, 0.2 + tall)]),
        ]
        return [collar, sweep(path, circle(0.07, num_sides=16))], 0.2
    body = slab(0.7, 0.3, 0.3, radius=0.08, **rims(rng, 0.05)).moved(x=0.12, z=0.24)
    trigger = sweep(curve([(0.3, 0, 0.3), (0.42, 0, 0.1), (0.36, 0, -0.25)]), grip_section(rng.part(), 0.1))
    nozzle = turn([(0.07, 0), (0.09, 0.12)]).turned("y", 90).moved(x=0.46, z=0.42)
    return [collar, body, trigger, nozzle], 0.2


def _front_of(outline: Points) -> float:
    """y of the outline's front."""
    return float(outline[:, 1].min())


def pot(rng: Rng) -> list[Mesh]:
    """An open shell: cup, jug, bowl, vase, pan or teapot, with its handles, lid and spout."""
    outline = section(rng.part())
    wide, height, wall = rng.uniform(0.4, 0.8), rng.uniform(0.4, 1.5), rng.uniform(0.03, 0.07)
    low = wide * rng.uniform(0.5, 1.05)
    belly = wide * rng.uniform(0.7, 1.25)
    side = curve([(low, 0.0), (belly, height * rng.uniform(0.3, 0.7)), (wide, height)])
    if chance(rng, 0.3):
        side = np.array([(low, 0.0), (wide, height)])
    lip = [(wide + rng.uniform(0.02, 0.12), height), (wide + 0.02, height + 0.05)] if chance(rng, 0.4) else []
    inner = [(radius - wall, z) for radius, z in side[:0:-1]]
    parts = [turn([(0, 0), *side, *lip, *inner, (side[1][0] - wall, wall * 2), (0, wall * 2)], outline)]
    if chance(rng, 0.75):
        reach, thickness = rng.uniform(0.25, 0.55), rng.uniform(0.07, 0.14)
        handle = bow(rng.part(), height * 0.2, height * 0.85, reach=reach, thickness=thickness).moved(x=wide * 0.92)
        parts += named("handle", around(handle, count(rng, 1, 2)))
    elif chance(rng, 0.6):
        grip = sweep(
            curve([(0, 0, 0), (0.5, 0, 0.05), (rng.uniform(0.9, 1.6), 0, rng.uniform(0.0, 0.3))]),
            grip_section(rng.part(), 0.14),
        )
        parts += named("handle", [grip.moved(x=wide * 0.9, z=height * 0.75)])
    if chance(rng, 0.35):
        cover = [
            (wide * 1.03, height),
            (wide * 1.03, height + 0.06),
            *curve([(wide * 0.95, height + 0.06), (wide * 0.6, height + rng.uniform(0.1, 0.3)), (0, height + 0.35)]),
        ]
        cover = [*filleted(cover, edge(rng, 0.04))]
        top = knob(rng.part(), rng.uniform(0.08, 0.16)).moved(z=height + 0.3)
        parts += named("cap", [turn([(0, height), *cover], outline), top])
    if chance(rng, 0.35):
        far = rng.uniform(0.3, 0.6)
        path = curve(
            [(0, 0, height * 0.35), (-far * 0.6, 0, height * 0.5), (-far, 0, height * rng.uniform(0.85, 1.15))]
        )
        parts.append(
            sweep(path, circle(0.1, num_sides=16), scale=np.linspace(1.4, 0.7, len(path))).moved(x=-wide * 0.8)
        )
    if chance(rng, 0.3):
        parts += named("feet", feet(rng.part(), low, rng.uniform(0.08, 0.25)))
    if chance(rng, 0.4):
        parts.append(
            on_front(mark(rng.part(), rng.uniform(0.1, 0.2), 0.3), _front_of(outline) * wide + 0.2, height * 0.5)
        )
    return parts


def lamp(rng: Rng) -> list[Mesh]:
    """A base, a stem and a shade."""
    height, lean = rng.uniform(1.0, 2.6), rng.uniform(-0.7, 0.7) if chance(rng, 0.5) else 0.0
    if lean:
        stem_path = curve([(0, 0, 0), (-lean * rng.uniform(0.0, 0.8), 0, height * 0.5), (lean, 0, height)])
    else:
        stem_path = np.array([(0, 0, 0), (0, 0, height)], dtype=float)
    stem = sweep(stem_path, circle(rng.uniform(0.03, 0.09), num_sides=16))
    if not lean and chance(rng, 0.5):
        radii = rng.uniform(0.05, 0.3, count(rng, 3, 6))
        stem = turn(curve(np.stack([radii, np.linspace(0, height, len(radii))], axis=1)), section(rng.part()))
    tilt = lean and rng.uniform(0, 60) * np.sign(lean)
    shade = [part.turned("y", tilt).moved(x=lean, z=height) for part in _shade(rng.part())]
    return [*named("base", _base(rng.part())), stem, *named("shade", shade)]


def _base(rng: Rng) -> list[Mesh]:
    kind = pick(rng, "disc", "slab", "tripod", "dome", "clamp")
    wide = rng.uniform(0.3, 0.6)
    if kind == "disc":
        side = [(0, -0.1), (wide, -0.1), (wide, -0.02), (wide * 0.8, 0.05), (0, 0.05)]
        return [turn(filleted(side, edge(rng, 0.06)), section(rng.part()))]
    if kind == "slab":
        return [slab(wide * 2, wide * rng.uniform(1.0, 2.0), 0.14, radius=0.1, **rims(rng, 0.04)).moved(z=-0.12)]
    if kind == "tripod":
        foot = sweep(curve([(0, 0, 0.1), (wide * 0.6, 0, 0.05), (wide * 1.3, 0, -0.35)]), grip_section(rng.part(), 0.1))
        return [*around(foot, count(rng, 3, 5), start=90), turn([(0.12, -0.02), (0.12, 0.2)])]
    if kind == "dome":
        return [turn([(wide, -0.15), *curve([(wide, -0.1), (wide * 0.7, 0.12), (0.06, 0.2)])], section(rng.part()))]
    return [
        slab(0.5, 0.3, 0.12, radius=0.04).moved(z=-0.06),
        slab(0.12, 0.3, 0.6, radius=0.02).moved(x=-0.2, z=-0.6),
        slab(0.4, 0.3, 0.1, radius=0.04).moved(x=-0.05, z=-0.62),
        knob(rng.part(), 0.1).turned("x", 180).moved(z=-0.6),
    ]


def _shade(rng: Rng) -> list[Mesh]:
    """A hood that hangs about z = 0, open below."""
    kind = pick(rng, "cone", "bell", "drum", "globe", "bar", "petals")
    wide, tall = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8)
    outline = pick(rng, circle(), circle(), polygon(count(rng, 4, 8)), lobed(count(rng, 6, 14), depth=0.12))
    if kind == "globe":
        side = np.linspace(-1.35, 1.57, 22)
        shade = turn(np.stack([wide * 0.8 * np.cos(side), wide * 0.8 * np.sin(side)], axis=1), outline)
        return [shade.moved(z=wide * 0.5), ring(0.1, 0.12, 0.12, z=-wide * 0.25)]
    if kind == "bar":
        return [
            slab(wide * 2.2, 0.2, 0.12, radius=0.08, **rims(rng, 0.03)),
            box(wide * 1.8, 0.12, 0.06).moved(z=-0.04),
        ]
    if kind == "petals":
        petal = sweep(
            curve([(0.05, 0, 0.1), (wide * 0.6, 0, 0.15), (wide, 0, -tall * 0.6)]),
            np.array([(-0.2, -0.02), (0.2, -0.02), (0.2, 0.02), (-0.2, 0.02)]),
        )
        return [*around(petal, count(rng, 4, 7)), turn([(0.14, -0.05), (0.14, 0.25)])]
    small = wide * rng.uniform(0.2, 0.9)
    if kind == "cone":
        side = np.array([(wide, -tall), (small, tall * 0.3)])
    elif kind == "drum":
        side = np.array([(wide, -tall * 0.7), (wide, tall * 0.3)])
    else:
        side = curve([(wide, -tall), (wide * 0.8, -tall * 0.2), (small * 0.5, tall * 0.3)])
    inner = [(radius - 0.03, z - 0.01) for radius, z in side[::-1]]
    top = [(0.0, float(side[-1][1]))] if chance(rng, 0.6) or kind == "bell" else []
    under = [(0.0, float(side[-1][1]) - 0.02)] if top else []
    return [
        turn([*side, *top, *under, *inner], outline, closed=not top),
        *([knob(rng.part(), 0.08).moved(z=tall * 0.3)] if top else []),
    ]
