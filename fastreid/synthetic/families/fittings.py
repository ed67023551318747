"""Fittings that are screwed to a wall: hooks, taps, brackets, pulls, rails, studs and hinges."""

import numpy as np

from fastreid.synthetic.families.details import (
    make_emblem,
    make_handle,
    make_hole_grid,
    make_knob,
    mount_on_front,
    sample_bar_section,
    sample_section,
)
from fastreid.synthetic.geometry.mesh import Mesh, as_component, box, extrude, revolve, ring, slab, torus
from fastreid.synthetic.geometry.outlines import (
    Points,
    circle,
    ellipse,
    fillet_corners,
    lobed_circle,
    polygon,
    rounded_rectangle,
    spline,
    toothed_circle,
)
from fastreid.synthetic.geometry.sweep import sweep, thread
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def fitting(rng: PartRng) -> list[Mesh]:
    """Something screwed to a wall: hooks, a tap, a bracket, a pull, a rail, a stud or a hinge on its plate."""
    wide, tall = rng.uniform(0.3, 0.8), rng.uniform(0.4, 1.0)
    parts = as_component("plate", [_wall_plate(rng.next_part(), wide, tall)])
    kind = choose(rng, "hook", "hooks", "tap", "bracket", "pull", "rail", "stud", "hinge")
    thick = rng.uniform(0.07, 0.15)
    reach, drop = rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.7)
    bar = sample_bar_section(rng.next_part(), thick)
    if kind in ("hook", "hooks"):
        path = spline(
            [(0, 0.05, 0.1), (0, -reach * 0.5, 0.1 - drop), (0, -reach, -drop * 0.5), (0, -reach * 1.05, 0.1)]
        )
        hook = sweep(path, bar)
        xs = np.linspace(-0.7, 0.7, randint(rng, 2, 3)) * wide if kind == "hooks" else np.zeros(1)
        parts += [hook.translate(x=x) for x in xs]
        if bernoulli(rng, 0.5):
            parts += [make_knob(rng.next_part(), 0.09).translate(x=x, y=-reach * 1.05, z=0.1) for x in xs]
    elif kind == "tap":
        path = spline(
            [(0, 0, 0), (0, -reach * 0.6, 0.1 + drop), (0, -reach * 1.2, drop), (0, -reach * 1.3, drop - 0.3)]
        )
        parts += [sweep(path, circle(thick, num_sides=20)), revolve([(0.1, -0.1), (0.14, 0.15)]).rotate("x", 90)]
        lever = choose(
            rng,
            make_knob(rng.next_part(), 0.16),
            make_knob(rng.next_part(), 0.12),
            slab(0.12, 0.5, 0.06, radius=0.05).translate(y=-0.1, z=0.1),
        )
        parts.append(lever.translate(z=0.12 + thick))
    elif kind == "bracket":
        arm = box(thick, reach * 1.4, thick).translate(y=-reach * 0.7, z=tall * 0.4)
        brace = sweep([(0, 0, -tall * 0.5), (0, -reach * 1.2, tall * 0.4 + 0.03)], bar)
        parts += [part.translate(x=x) for part in (arm, brace) for x in choose(rng, (0.0,), (-wide * 0.6, wide * 0.6))]
    elif kind == "pull":
        parts.append(
            make_handle(rng.next_part(), -tall * 0.7, tall * 0.7, reach=reach * 0.7, thickness=thick).rotate("z", -90)
        )
    elif kind == "stud":
        parts += [part.rotate("x", 90) for part in _stud(rng.next_part(), thick, reach)]
    elif kind == "rail":
        post = revolve([(0.05, 0), (0.05, reach * 0.8)]).rotate("x", 90)
        parts += [post.translate(x=wide * 0.7), post.translate(x=-wide * 0.7)]
        parts.append(
            revolve([(0.06, -wide * 1.6), (0.06, wide * 1.6)], sample_section(rng.next_part()))
            .rotate("y", 90)
            .translate(y=-reach * 0.8)
        )
    else:
        pin = revolve([(0.09, -tall * 0.95), (0.09, tall * 0.95)]).translate(x=wide * 1.05, y=-0.06)
        parts += [pin, parts[0].scale(rng.uniform(0.5, 1.0), 1, 0.9).translate(x=wide * 2.1)]
        parts += [
            torus(0.07, 0.06).translate(x=wide * 1.05, y=-0.06, z=z)
            for z in np.linspace(-0.9, 0.9, randint(rng, 2, 5)) * tall
        ]
    if bernoulli(rng, 0.4):
        parts.append(mount_on_front(make_emblem(rng.next_part(), rng.uniform(0.08, 0.16), 0.08), -0.02, tall * 0.55))
    return parts


def _stud(rng: PartRng, thick: float, reach: float) -> list[Mesh]:
    """A threaded rod from z = 0 up, with a washer on the plate and a nut, which stands before the rod when exploded."""
    pitch = thick * rng.uniform(0.35, 0.7)
    rod = revolve(fillet_corners([(0, -0.05), (thick, -0.05), (thick, reach), (0, reach)], 0.3 * thick))
    ridge = thread(thick, 0.16 * thick, pitch, reach * 0.7).translate(z=reach * 0.27)
    parts = [rod, ridge, ring(thick * 0.9, thick * 0.9, thick * 0.2, z=0.02 + thick * 0.1)]
    outline = choose(
        rng, polygon(6), polygon(4), lobed_circle(4, depth=0.3), toothed_circle(randint(rng, 12, 20), depth=0.08)
    )
    wide, tall = thick * rng.uniform(1.7, 2.4), thick * rng.uniform(0.7, 1.3)
    nut = extrude(outline * wide, tall, holes=[circle(thick * 1.1)]).translate(z=reach * rng.uniform(0.52, 0.7))
    return [*parts, *as_component("nut", [nut])]


def _wall_plate(rng: PartRng, wide: float, tall: float) -> Mesh:
    """An upright plate with screw holes, its back on y = .08."""
    outline: Points = choose(
        rng,
        rounded_rectangle(2 * wide, 2 * tall, radius=rng.uniform(0.0, 0.3)),
        ellipse(2 * wide, 2 * tall),
        polygon(randint(rng, 5, 8)) * [wide, tall],
        lobed_circle(4, depth=0.2) * [wide, tall],
    )
    screws = [
        circle(0.05, num_sides=16) + [x, y * tall]
        for x, y in choose(rng, ((0, 0.8), (0, -0.8)), ((0, 0.75),), ((0, -0.7), (0, 0.7)))
    ]
    if bernoulli(rng, 0.15):
        screws = [hole * 0.9 for hole in make_hole_grid(rng.next_part(), wide, tall)]
    return extrude(outline, 0.1, holes=screws).rotate("x", 90).translate(y=0.08)
