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


def build_fitting(rng: PartRng) -> list[Mesh]:
    """Build a fitting on a wall plate: hooks, a tap, a bracket, a pull, a rail, a stud or a hinge."""
    width, height = rng.uniform(0.3, 0.8), rng.uniform(0.4, 1.0)
    parts = as_component("plate", [_build_wall_plate(rng.next_part(), width, height)])
    kind = choose(rng, "hook", "hooks", "tap", "bracket", "pull", "rail", "stud", "hinge")
    thickness = rng.uniform(0.07, 0.15)
    reach, drop = rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.7)
    bar = sample_bar_section(rng.next_part(), thickness)
    if kind in ("hook", "hooks"):
        path = spline(
            [(0, 0.05, 0.1), (0, -reach * 0.5, 0.1 - drop), (0, -reach, -drop * 0.5), (0, -reach * 1.05, 0.1)]
        )
        hook = sweep(path, bar)
        xs = np.linspace(-0.7, 0.7, randint(rng, 2, 3)) * width if kind == "hooks" else np.zeros(1)
        parts += [hook.translate(x=x) for x in xs]
        if bernoulli(rng, 0.5):
            parts += [make_knob(rng.next_part(), 0.09).translate(x=x, y=-reach * 1.05, z=0.1) for x in xs]
    elif kind == "tap":
        path = spline(
            [(0, 0, 0), (0, -reach * 0.6, 0.1 + drop), (0, -reach * 1.2, drop), (0, -reach * 1.3, drop - 0.3)]
        )
        parts += [sweep(path, circle(thickness, num_sides=20)), revolve([(0.1, -0.1), (0.14, 0.15)]).rotate("x", 90)]
        lever = choose(
            rng,
            make_knob(rng.next_part(), 0.16),
            make_knob(rng.next_part(), 0.12),
            slab(0.12, 0.5, 0.06, radius=0.05).translate(y=-0.1, z=0.1),
        )
        parts.append(lever.translate(z=0.12 + thickness))
    elif kind == "bracket":
        arm = box(thickness, reach * 1.4, thickness).translate(y=-reach * 0.7, z=height * 0.4)
        brace = sweep([(0, 0, -height * 0.5), (0, -reach * 1.2, height * 0.4 + 0.03)], bar)
        parts += [
            part.translate(x=x) for part in (arm, brace) for x in choose(rng, (0.0,), (-width * 0.6, width * 0.6))
        ]
    elif kind == "pull":
        parts.append(
            make_handle(rng.next_part(), -height * 0.7, height * 0.7, reach=reach * 0.7, thickness=thickness).rotate(
                "z", -90
            )
        )
    elif kind == "stud":
        parts += [part.rotate("x", 90) for part in _build_stud(rng.next_part(), thickness, reach)]
    elif kind == "rail":
        post = revolve([(0.05, 0), (0.05, reach * 0.8)]).rotate("x", 90)
        parts += [post.translate(x=width * 0.7), post.translate(x=-width * 0.7)]
        parts.append(
            revolve([(0.06, -width * 1.6), (0.06, width * 1.6)], sample_section(rng.next_part()))
            .rotate("y", 90)
            .translate(y=-reach * 0.8)
        )
    else:
        pin = revolve([(0.09, -height * 0.95), (0.09, height * 0.95)]).translate(x=width * 1.05, y=-0.06)
        parts += [pin, parts[0].scale(rng.uniform(0.5, 1.0), 1, 0.9).translate(x=width * 2.1)]
        parts += [
            torus(0.07, 0.06).translate(x=width * 1.05, y=-0.06, z=z)
            for z in np.linspace(-0.9, 0.9, randint(rng, 2, 5)) * height
        ]
    if bernoulli(rng, 0.4):
        parts.append(mount_on_front(make_emblem(rng.next_part(), rng.uniform(0.08, 0.16), 0.08), -0.02, height * 0.55))
    return parts


def _build_stud(rng: PartRng, thickness: float, reach: float) -> list[Mesh]:
    """Build a threaded rod from z = 0 up, a washer and a nut, which is in front of the rod in an exploded view."""
    pitch = thickness * rng.uniform(0.35, 0.7)
    rod = revolve(fillet_corners([(0, -0.05), (thickness, -0.05), (thickness, reach), (0, reach)], 0.3 * thickness))
    ridge = thread(thickness, 0.16 * thickness, pitch, reach * 0.7).translate(z=reach * 0.27)
    parts = [rod, ridge, ring(thickness * 0.9, thickness * 0.9, thickness * 0.2, z=0.02 + thickness * 0.1)]
    outline = choose(
        rng, polygon(6), polygon(4), lobed_circle(4, depth=0.3), toothed_circle(randint(rng, 12, 20), depth=0.08)
    )
    width, height = thickness * rng.uniform(1.7, 2.4), thickness * rng.uniform(0.7, 1.3)
    nut = extrude(outline * width, height, holes=[circle(thickness * 1.1)]).translate(z=reach * rng.uniform(0.52, 0.7))
    return [*parts, *as_component("nut", [nut])]


def _build_wall_plate(rng: PartRng, width: float, height: float) -> Mesh:
    """Build a vertical plate with screw holes, its back at y = 0.08."""
    outline: Points = choose(
        rng,
        rounded_rectangle(2 * width, 2 * height, radius=rng.uniform(0.0, 0.3)),
        ellipse(2 * width, 2 * height),
        polygon(randint(rng, 5, 8)) * [width, height],
        lobed_circle(4, depth=0.2) * [width, height],
    )
    screws = [
        circle(0.05, num_sides=16) + [x, y * height]
        for x, y in choose(rng, ((0, 0.8), (0, -0.8)), ((0, 0.75),), ((0, -0.7), (0, 0.7)))
    ]
    if bernoulli(rng, 0.15):
        screws = [hole * 0.9 for hole in make_hole_grid(rng.next_part(), width, height)]
    return extrude(outline, 0.1, holes=screws).rotate("x", 90).translate(y=0.08)
