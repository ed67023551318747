"""The family of things screwed on: hooks, taps, brackets, pulls, rails, studs and hinges."""

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
    section,
)
from fastreid.synthetic.geometry.mesh import Mesh, box, extrude, named, ring, slab, torus, turn
from fastreid.synthetic.geometry.outlines import (
    Points,
    circle,
    curve,
    ellipse,
    filleted,
    lobed,
    polygon,
    rounded_rectangle,
    toothed,
)
from fastreid.synthetic.geometry.sweep import sweep, thread


def fitting(rng: Rng) -> list[Mesh]:
    """Something screwed to a wall: hooks, a tap, a bracket, a pull, a rail, a stud or a hinge on its plate."""
    wide, tall = rng.uniform(0.3, 0.8), rng.uniform(0.4, 1.0)
    parts = named("plate", [_wall_plate(rng.part(), wide, tall)])
    kind = pick(rng, "hook", "hooks", "tap", "bracket", "pull", "rail", "stud", "hinge")
    thick = rng.uniform(0.07, 0.15)
    reach, drop = rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.7)
    bar = grip_section(rng.part(), thick)
    if kind in ("hook", "hooks"):
        path = curve([(0, 0.05, 0.1), (0, -reach * 0.5, 0.1 - drop), (0, -reach, -drop * 0.5), (0, -reach * 1.05, 0.1)])
        hook = sweep(path, bar)
        xs = np.linspace(-0.7, 0.7, count(rng, 2, 3)) * wide if kind == "hooks" else np.zeros(1)
        parts += [hook.moved(x=x) for x in xs]
        if chance(rng, 0.5):
            parts += [knob(rng.part(), 0.09).moved(x=x, y=-reach * 1.05, z=0.1) for x in xs]
    elif kind == "tap":
        path = curve([(0, 0, 0), (0, -reach * 0.6, 0.1 + drop), (0, -reach * 1.2, drop), (0, -reach * 1.3, drop - 0.3)])
        parts += [sweep(path, circle(thick, num_sides=20)), turn([(0.1, -0.1), (0.14, 0.15)]).turned("x", 90)]
        lever = pick(
            rng, knob(rng.part(), 0.16), knob(rng.part(), 0.12), slab(0.12, 0.5, 0.06, radius=0.05).moved(y=-0.1, z=0.1)
        )
        parts.append(lever.moved(z=0.12 + thick))
    elif kind == "bracket":
        arm = box(thick, reach * 1.4, thick).moved(y=-reach * 0.7, z=tall * 0.4)
        brace = sweep([(0, 0, -tall * 0.5), (0, -reach * 1.2, tall * 0.4 + 0.03)], bar)
        parts += [part.moved(x=x) for part in (arm, brace) for x in pick(rng, (0.0,), (-wide * 0.6, wide * 0.6))]
    elif kind == "pull":
        parts.append(bow(rng.part(), -tall * 0.7, tall * 0.7, reach=reach * 0.7, thickness=thick).turned("z", -90))
    elif kind == "stud":
        parts += [part.turned("x", 90) for part in _stud(rng.part(), thick, reach)]
    elif kind == "rail":
        post = turn([(0.05, 0), (0.05, reach * 0.8)]).turned("x", 90)
        parts += [post.moved(x=wide * 0.7), post.moved(x=-wide * 0.7)]
        parts.append(
            turn([(0.06, -wide * 1.6), (0.06, wide * 1.6)], section(rng.part())).turned("y", 90).moved(y=-reach * 0.8)
        )
    else:
        pin = turn([(0.09, -tall * 0.95), (0.09, tall * 0.95)]).moved(x=wide * 1.05, y=-0.06)
        parts += [pin, parts[0].scaled(rng.uniform(0.5, 1.0), 1, 0.9).moved(x=wide * 2.1)]
        parts += [
            torus(0.07, 0.06).moved(x=wide * 1.05, y=-0.06, z=z)
            for z in np.linspace(-0.9, 0.9, count(rng, 2, 5)) * tall
        ]
    if chance(rng, 0.4):
        parts.append(on_front(mark(rng.part(), rng.uniform(0.08, 0.16), 0.08), -0.02, tall * 0.55))
    return parts


def _stud(rng: Rng, thick: float, reach: float) -> list[Mesh]:
    """A threaded rod from z = 0 up, with a washer on the plate and a nut, which stands before the rod when exploded."""
    pitch = thick * rng.uniform(0.35, 0.7)
    rod = turn(filleted([(0, -0.05), (thick, -0.05), (thick, reach), (0, reach)], 0.3 * thick))
    ridge = thread(thick, 0.16 * thick, pitch, reach * 0.7).moved(z=reach * 0.27)
    parts = [rod, ridge, ring(thick * 0.9, thick * 0.9, thick * 0.2, z=0.02 + thick * 0.1)]
    outline = pick(rng, polygon(6), polygon(4), lobed(4, depth=0.3), toothed(count(rng, 12, 20), depth=0.08))
    wide, tall = thick * rng.uniform(1.7, 2.4), thick * rng.uniform(0.7, 1.3)
    nut = extrude(outline * wide, tall, holes=[circle(thick * 1.1)]).moved(z=reach * rng.uniform(0.52, 0.7))
    return [*parts, *named("nut", [nut])]


def _wall_plate(rng: Rng, wide: float, tall: float) -> Mesh:
    """An upright plate with screw holes, its back on y = .08."""
    outline: Points = pick(
        rng,
        rounded_rectangle(2 * wide, 2 * tall, radius=rng.uniform(0.0, 0.3)),
        ellipse(2 * wide, 2 * tall),
        polygon(count(rng, 5, 8)) * [wide, tall],
        lobed(4, depth=0.2) * [wide, tall],
    )
    screws = [
        circle(0.05, num_sides=16) + [x, y * tall]
        for x, y in pick(rng, ((0, 0.8), (0, -0.8)), ((0, 0.75),), ((0, -0.7), (0, 0.7)))
    ]
    if chance(rng, 0.15):
        screws = [hole * 0.9 for hole in hole_rows(rng.part(), wide, tall)]
    return extrude(outline, 0.1, holes=screws).turned("x", 90).moved(y=0.08)
