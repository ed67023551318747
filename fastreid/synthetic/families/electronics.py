"""Electronics: devices, screens and plugs."""

from itertools import pairwise

import numpy as np

from fastreid.synthetic.families.details import make_emblem, make_hole_grid, sample_rim, sample_section
from fastreid.synthetic.geometry.mesh import (
    Mesh,
    as_component,
    box,
    circular_pattern,
    extrude,
    revolve,
    ring,
    slab,
    torus,
)
from fastreid.synthetic.geometry.outlines import circle, ellipse, polygon, rounded_rectangle, spline, toothed_circle
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def build_device(rng: PartRng) -> list[Mesh]:
    """Build a device: a housing with a screen, buttons, a grille, a dial or a lens, upright or on its back."""
    width, height, thickness = rng.uniform(0.5, 1.4), rng.uniform(0.6, 1.6), rng.uniform(0.1, 0.5)
    body = slab(
        width,
        height,
        thickness,
        radius=rng.uniform(0.02, 0.4) * width,
        **sample_rim(rng, rng.uniform(0.05, 0.2) * thickness),
    )
    parts = [body]
    split = rng.uniform(-0.1, 0.15) * height
    upper, lower = height * 0.44 - split, height * 0.44 + split
    for center, room in ((split + upper / 2, upper), (split - lower / 2, lower)):
        panel = [
            part.translate(y=center, z=thickness)
            for part in _build_front_panel(rng.next_part(), width * 0.8, room * 0.86)
        ]
        parts += as_component("upper" if center > split else "lower", panel)
    for side in (-1, 1):
        if bernoulli(rng, 0.5):
            key = slab(
                0.1, 0.12 * rng.uniform(0.6, 2.5), thickness * 0.4, radius=0.03, **sample_rim(rng, 0.015)
            ).translate(x=side * width * 0.5, z=thickness * 0.3)
            parts += [key.translate(y=y * height) for y in rng.uniform(-0.2, 0.2, randint(rng, 1, 2))]
    extra = choose(rng, "antenna", "stand", "lug", "cord", "none")
    if extra == "antenna":
        rod = revolve([(0.06, 0), (0.06, 0.15), (0.04, 0.2), (0.03, rng.uniform(0.3, 0.8))], circle(num_sides=16))
        parts.append(
            rod.rotate("x", -90).translate(x=width * 0.35 * choose(rng, -1, 1), y=height * 0.45, z=thickness / 2)
        )
    elif extra == "stand":
        parts.append(
            slab(width * rng.uniform(0.4, 1.1), 0.12, thickness * 3, radius=0.05).translate(
                y=-height * 0.5, z=-thickness
            )
        )
    elif extra == "lug":
        parts.append(torus(0.14, 0.05).translate(y=height * 0.5 + 0.06, z=thickness / 2))
    elif extra == "cord":
        path = spline(
            [
                (0, -height * 0.45, thickness / 2),
                (0, -height * 0.6, thickness / 2),
                (0.3, -height * 0.8, thickness / 2),
                (0.1, -height * 1.0, thickness / 2),
            ]
        )
        parts.append(sweep(path, circle(0.04, num_sides=12)))
    if bernoulli(rng, 0.5):
        parts.append(
            make_emblem(rng.next_part(), rng.uniform(0.1, 0.25), 0.06).translate(
                y=height * rng.uniform(-0.2, 0.2), z=-0.04
            )
        )
    return [part.rotate("x", 90) for part in parts] if bernoulli(rng, 0.6) else parts


def _build_front_panel(rng: PartRng, width: float, room: float) -> list[Mesh]:
    """Build the contents of a field of the given size on a housing whose face is z = 0."""
    kind = choose(rng, "screen", "keys", "keys", "grille", "dial", "lens", "pad")
    small = min(width, room)
    if kind == "screen":
        glass = rounded_rectangle(width * 0.86, room * 0.86, radius=small * rng.uniform(0.01, 0.1))
        bezel = extrude(rounded_rectangle(width, room, radius=small * 0.08), 0.05, holes=[glass])
        return [bezel.translate(z=-0.02)]
    if kind == "grille":
        holes = make_hole_grid(rng.next_part(), width * 0.9, room * 0.9)
        return [extrude(rounded_rectangle(width, room, radius=small * 0.1), 0.06, holes=holes).translate(z=-0.02)]
    if kind == "keys":
        columns, rows = randint(rng, 2, 4), randint(rng, 2, 5)
        across, along = np.array([width / columns, room / rows]) * rng.uniform(0.5, 0.8)
        soft = slab(across, along, 0.06, radius=rng.uniform(0.05, 0.45) * min(across, along), **sample_rim(rng, 0.015))
        key = choose(rng, soft, extrude(ellipse(across, along, num_sides=24), 0.06)).translate(z=-0.02)
        return [
            key.translate(x=(c - (columns - 1) / 2) * width / columns, y=(r - (rows - 1) / 2) * room / rows)
            for c in range(columns)
            for r in range(rows)
        ]
    if kind == "pad":
        arms = small * 0.4
        cross = np.array(
            [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]
        )
        return [
            extrude(cross * arms / 3, 0.08).translate(z=-0.02),
            extrude(circle(arms * 1.2), 0.04).translate(z=-0.02),
        ]
    x = rng.uniform(-0.3, 0.3) * (width - small)
    radius = small * rng.uniform(0.25, 0.48)
    if kind == "dial":
        outline = choose(rng, circle(), toothed_circle(randint(rng, 16, 30), depth=0.08), polygon(8))
        high = rng.uniform(0.06, 0.25)
        pointer = box(0.04, radius * 0.6, high + 0.03).translate(x=x, y=radius * 0.35)
        return [revolve([(radius, -0.02), (radius * 0.9, high)], outline).translate(x=x), pointer]
    barrel = [(radius, -0.02), (radius, 0.2), (radius * 0.8, 0.2), (radius * 0.7, 0.06), (0, 0.1)]
    return [revolve(barrel).translate(x=x), ring(radius, 0.04, 0.05, z=rng.uniform(0.02, 0.12)).translate(x=x)]


def build_screen(rng: PartRng) -> list[Mesh]:
    """Build a thin screen that shows fields, buttons, lists and icons."""
    width, height = choose(rng, (1.0, 1.8), (1.6, 1.1), (1.0, 1.0))
    thickness = rng.uniform(0.04, 0.12)
    parts = as_component(
        "housing", [slab(width, height, thickness, radius=rng.uniform(0.02, 0.16), **sample_rim(rng, 0.012))]
    )
    glass = rounded_rectangle(width * 0.92, height * 0.86, radius=0.02)
    parts += as_component(
        "housing",
        [
            extrude(rounded_rectangle(width * 0.94, height * 0.88, radius=0.03), 0.01, holes=[glass]).translate(
                z=thickness - 0.002
            )
        ],
    )
    levels = np.sort(rng.uniform(-0.4, 0.4, randint(rng, 2, 5))) * height
    edges = [-0.42 * height, *levels.tolist(), 0.42 * height]
    for low, high in pairwise(edges):
        room = (high - low) * 0.84
        if room > 0.06:
            row = [
                part.translate(y=(low + high) / 2, z=thickness - 0.002)
                for part in _build_widgets(rng.next_part(), width * 0.86, room)
            ]
            parts += as_component("picture", row)
    return [part.rotate("x", 90) for part in parts]


def _build_widgets(rng: PartRng, width: float, room: float) -> list[Mesh]:
    """Build a row of widgets on a screen, 0.01 high, centered at the origin."""
    kind = choose(rng, "buttons", "icons", "field", "lines", "slider")
    num = randint(rng, 1, 5)
    across = width / num
    places = (np.arange(num) - (num - 1) / 2) * across
    if kind == "buttons":
        flat = rounded_rectangle(across * 0.84, min(room, 0.3), radius=min(room, 0.3) * rng.uniform(0.05, 0.5))
        return [extrude(flat + [x, 0], 0.01) for x in places]
    if kind == "icons":
        size = min(across, room) * 0.36
        return [make_emblem(rng.next_part(), size, 0.01).translate(x=float(x)) for x in places]
    if kind == "field":
        inner = rounded_rectangle(width * 0.96, room * 0.9, radius=0.02)
        return [extrude(rounded_rectangle(width, room, radius=0.03), 0.01, holes=[inner])]
    if kind == "lines":
        bar = rng.uniform(0.3, 1.0, max(1, int(room / 0.08)))
        heights = (np.arange(len(bar)) - (len(bar) - 1) / 2) * 0.08
        return [box(width * w, 0.03, 0.01).translate(x=-width * (1 - w) / 2, y=float(y)) for w, y in zip(bar, heights)]
    knob_at = extrude(circle(min(room, 0.16) / 2, num_sides=24) + [rng.uniform(-0.4, 0.4) * width, 0], 0.015)
    return [box(width * 0.9, 0.02, 0.01), knob_at]


def build_plug(rng: PartRng) -> list[Mesh]:
    """Build a plug: a housing with pins or a socket at its front, collars, a key and a cord."""
    outline = sample_section(rng.next_part())
    length = rng.uniform(0.6, 1.4)
    knots = [(rng.uniform(0.3, 0.5), z) for z in np.linspace(0, length, randint(rng, 3, 5))]
    parts = [revolve([*spline(knots), (0.16, length + 0.08)], outline)]
    pins = rng.next_part()
    reach = pins.uniform(0.2, 0.5)
    pin = choose(
        pins,
        revolve([(0.05, -reach), (0.06, 0.02)]),
        slab(0.05, 0.16, reach).translate(z=-reach),
        slab(0.16, 0.05, reach).translate(z=-reach),
    )
    parts += as_component("pins", circular_pattern(pin.translate(x=0.17), randint(pins, 2, 4), start=90))
    if bernoulli(pins, 0.4):
        parts += as_component(
            "pins",
            [revolve([(0.3, -reach * 0.8), (0.3, 0.02), (0.26, 0.02), (0.26, -reach * 0.8)], outline, closed=True)],
        )
    collar = rng.next_part()
    rings = []
    for z in np.linspace(0.2, 0.8, randint(collar, 1, 4)):
        width = collar.uniform(0.05, 0.2)
        collar_outline = choose(collar, circle(), toothed_circle(20, depth=0.1), polygon(6))
        rings.append(ring(0.36, width, 0.07, z=z * length, outline=collar_outline))
    parts += as_component("collar", rings)
    if bernoulli(rng, 0.5):
        parts += as_component("key", [slab(0.16, 0.3, length * 0.5, radius=0.04).translate(y=-0.4, z=length * 0.2)])
    cord = rng.next_part()
    bend = cord.uniform(-0.8, 0.8)
    path = spline([(0, 0, length), (0, 0, length + 0.4), (bend * 0.6, 0, length + 0.8), (bend, 0, length + 1.2)])
    parts += as_component("cord", [sweep(path, circle(0.09, num_sides=16)), *(
        torus(0.1, 0.05).translate(z=length + 0.1 + 0.09 * i) for i in range(randint(cord, 0, 4))
    )])  # fmt: skip
    return [part.rotate("y", 90) for part in parts] if bernoulli(rng, 0.5) else parts
