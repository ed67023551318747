"""Vessels: bottles and pots."""

import numpy as np

from fastreid.synthetic.families.details import (
    make_emblem,
    make_feet,
    make_handle,
    make_knob,
    mount_on_front,
    sample_bar_section,
    sample_fillet,
    sample_rim,
    sample_section,
)
from fastreid.synthetic.geometry.mesh import Mesh, as_component, circular_pattern, revolve, ring, slab, torus
from fastreid.synthetic.geometry.outlines import Points, circle, fillet_corners, polygon, spline, toothed_circle
from fastreid.synthetic.geometry.sweep import sweep, thread
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint

MIN_THREAD_HEIGHT = 0.08  # closures with a higher cavity may have a screw thread


def build_bottle(rng: PartRng) -> list[Mesh]:
    """Build a bottle: a body with shoulders, a neck and a closure."""
    outline, height = sample_section(rng.next_part()), rng.uniform(1.2, 3.0)
    side = _sample_body_profile(rng.next_part(), height)
    neck = rng.uniform(0.12, 0.3)
    shoulder = side[-1][0]
    top = height + rng.uniform(0.15, 0.6)
    slope = choose(rng, "cone", "round", "flat")
    if slope == "cone":
        side = [*side, (neck, top)]
    elif slope == "round":
        side = [*side[:-1], *spline([side[-1], (shoulder * 0.85, height + 0.6 * (top - height)), (neck, top)])]
    else:
        side = [*side, (shoulder * 0.9, height + 0.06), (neck, height + 0.06)]
        top = height + 0.06
    parts = [revolve(fillet_corners([(0, 0), *side, (0, side[-1][1])], sample_fillet(rng, 0.12)), outline)]
    neck_height = rng.uniform(0.15, 0.6)
    closure, room = _build_closure(rng.next_part(), neck)
    insertion = min(0.5 * neck_height, 0.9 * room)  # insertion depth of the neck into the closure
    parts.append(revolve([(neck * 0.95, top - 0.1), (neck * 0.95, top + neck_height * 0.5 + insertion)]))
    if room >= MIN_THREAD_HEIGHT and bernoulli(rng, 0.7):
        ridge = thread(neck * 0.95, neck * 0.09, insertion * rng.uniform(0.22, 0.35), insertion * 0.95)
        parts.append(ridge.translate(z=top + neck_height * 0.5))
    if bernoulli(rng, 0.5):
        parts.append(ring(neck * 0.9, 0.08, 0.06, z=top + neck_height * 0.3))
    parts += as_component("cap", [part.translate(z=top + neck_height * 0.5) for part in closure])
    parts += [
        ring(0.5, rng.uniform(0.02, 0.1), rng.uniform(0.03, 0.12), z=z, outline=outline)
        for z in rng.uniform(0.2, height, randint(rng, 0, 3))
    ]
    if bernoulli(rng, 0.4):
        span = rng.uniform(0.4, 0.8) * height
        handle = make_handle(rng.next_part(), 0.25, 0.25 + span, reach=rng.uniform(0.25, 0.5), thickness=0.14)
        parts += as_component("handle", [handle.translate(x=0.42)])
    if bernoulli(rng, 0.6):
        size = rng.uniform(0.12, 0.3)
        badge = mount_on_front(
            make_emblem(rng.next_part(), size, 0.35), _front_y(outline) * 0.5 + 0.3, height * rng.uniform(0.3, 0.7)
        )
        parts += as_component("mark", [badge])
    return parts


def _sample_body_profile(rng: PartRng, height: float) -> list[tuple[float, float]]:
    """Sample the profile of a body with a radius of about 0.5, as (radius, height) from bottom to top."""
    kind = choose(rng, "straight", "waist", "wavy", "taper", "grooved")
    low, high = rng.uniform(0.38, 0.55), rng.uniform(0.38, 0.55)
    foot = [(low - 0.05, 0.0), (low, 0.06)] if bernoulli(rng, 0.5) else [(low, 0.0)]
    if kind == "straight":
        return [*foot, (low, height)]
    if kind == "taper":
        return [*foot, (high * choose(rng, 0.6, 1.3), height)]
    if kind == "grooved":
        num, depth = randint(rng, 2, 6), rng.uniform(0.03, 0.07)
        levels = np.linspace(0.15, 0.9, num) * height
        grooves = [
            (low - d, z + dz) for z in levels for d, dz in ((0, -0.05), (depth, -0.04), (depth, 0.04), (0, 0.05))
        ]
        return [*foot, *grooves, (low, height)]
    inner = 1 if kind == "waist" else randint(rng, 2, 4)
    levels = np.linspace(0.06, height, inner + 2)[1:-1]
    knots = [(low, 0.06), *((rng.uniform(0.3, 0.6), z) for z in levels), (high, height)]
    return [foot[0], *map(tuple, spline(knots))]


def _build_closure(rng: PartRng, neck: float) -> tuple[list[Mesh], float]:
    """Build a closure with its bottom at z = 0; also return the height of its cavity for the neck."""
    kind = choose(rng, "screw", "dome", "cone", "pump", "loop", "stopper", "spray")
    width = neck * rng.uniform(1.1, 1.6)
    height = rng.uniform(0.2, 0.6)
    if kind == "screw":
        outline = choose(rng, circle(), toothed_circle(randint(rng, 14, 24), depth=0.07), polygon(randint(rng, 6, 10)))
        width = max(width, 1.25 * neck)  # the sides of a polygon are closer to the axis than its corners
        side = [(width, 0), (width, height), (width * 0.93, height + 0.03), (0, height + 0.03)]
        return [revolve(fillet_corners(side, sample_fillet(rng, 0.4 * width)), outline)], 0.7 * height
    if kind == "dome":
        return [
            revolve([(width, 0), *spline([(width, height * 0.4), (width * 0.75, height * 0.9), (0, height * 1.1)])])
        ], 0.4 * height
    if kind == "cone":
        return [
            revolve([(width, 0), (width, 0.12), (width * 0.5, 0.2), (0.04, 0.2 + height), (0.0, 0.2 + height)])
        ], 0.12
    if kind == "stopper":
        return [revolve([(width, 0), (width, 0.08)]), make_knob(rng.next_part(), width * 1.2).translate(z=0.08)], 0.06
    if kind == "loop":
        eye = torus(width * 0.9, 0.1).rotate("x", 90).translate(z=0.2 + width * 0.8)
        return [revolve([(width, 0), (width, 0.2)]), eye], 0.06
    collar = revolve([(width, 0), (width, 0.2), (width * 0.5, 0.26)])
    if kind == "pump":
        reach = rng.uniform(0.3, 0.7)
        path = [
            (0, 0, 0.1),
            (0, 0, 0.3 + height),
            *spline([(0.03, 0, 0.36 + height), (reach, 0, 0.36 + height), (reach + 0.1, 0, 0.2 + height)]),
        ]
        return [collar, sweep(path, circle(0.07, num_sides=16))], 0.2
    body = slab(0.7, 0.3, 0.3, radius=0.08, **sample_rim(rng, 0.05)).translate(x=0.12, z=0.24)
    trigger = sweep(spline([(0.3, 0, 0.3), (0.42, 0, 0.1), (0.36, 0, -0.25)]), sample_bar_section(rng.next_part(), 0.1))
    nozzle = revolve([(0.07, 0), (0.09, 0.12)]).rotate("y", 90).translate(x=0.46, z=0.42)
    return [collar, body, trigger, nozzle], 0.2


def _front_y(outline: Points) -> float:
    """Return the y coordinate of the front of an outline."""
    return float(outline[:, 1].min())


def build_pot(rng: PartRng) -> list[Mesh]:
    """Build an open shell: a cup, jug, bowl, vase, pan or teapot with handles, lid and spout."""
    outline = sample_section(rng.next_part())
    width, height, wall = rng.uniform(0.4, 0.8), rng.uniform(0.4, 1.5), rng.uniform(0.03, 0.07)
    low = width * rng.uniform(0.5, 1.05)
    belly = width * rng.uniform(0.7, 1.25)
    side = spline([(low, 0.0), (belly, height * rng.uniform(0.3, 0.7)), (width, height)])
    if bernoulli(rng, 0.3):
        side = np.array([(low, 0.0), (width, height)])
    lip = [(width + rng.uniform(0.02, 0.12), height), (width + 0.02, height + 0.05)] if bernoulli(rng, 0.4) else []
    inner = [(radius - wall, z) for radius, z in side[:0:-1]]
    parts = [revolve([(0, 0), *side, *lip, *inner, (side[1][0] - wall, wall * 2), (0, wall * 2)], outline)]
    if bernoulli(rng, 0.75):
        reach, thickness = rng.uniform(0.25, 0.55), rng.uniform(0.07, 0.14)
        handle = make_handle(rng.next_part(), height * 0.2, height * 0.85, reach=reach, thickness=thickness).translate(
            x=width * 0.92
        )
        parts += as_component("handle", circular_pattern(handle, randint(rng, 1, 2)))
    elif bernoulli(rng, 0.6):
        grip = sweep(
            spline([(0, 0, 0), (0.5, 0, 0.05), (rng.uniform(0.9, 1.6), 0, rng.uniform(0.0, 0.3))]),
            sample_bar_section(rng.next_part(), 0.14),
        )
        parts += as_component("handle", [grip.translate(x=width * 0.9, z=height * 0.75)])
    if bernoulli(rng, 0.35):
        cover = [
            (width * 1.03, height),
            (width * 1.03, height + 0.06),
            *spline([(width * 0.95, height + 0.06), (width * 0.6, height + rng.uniform(0.1, 0.3)), (0, height + 0.35)]),
        ]
        cover = [*fillet_corners(cover, sample_fillet(rng, 0.04))]
        top = make_knob(rng.next_part(), rng.uniform(0.08, 0.16)).translate(z=height + 0.3)
        parts += as_component("cap", [revolve([(0, height), *cover], outline), top])
    if bernoulli(rng, 0.35):
        far = rng.uniform(0.3, 0.6)
        path = spline(
            [(0, 0, height * 0.35), (-far * 0.6, 0, height * 0.5), (-far, 0, height * rng.uniform(0.85, 1.15))]
        )
        parts.append(
            sweep(path, circle(0.1, num_sides=16), scale=np.linspace(1.4, 0.7, len(path))).translate(x=-width * 0.8)
        )
    if bernoulli(rng, 0.3):
        parts += as_component("feet", make_feet(rng.next_part(), low, rng.uniform(0.08, 0.25)))
    if bernoulli(rng, 0.4):
        parts.append(
            mount_on_front(
                make_emblem(rng.next_part(), rng.uniform(0.1, 0.2), 0.3), _front_y(outline) * width + 0.2, height * 0.5
            )
        )
    return parts
