"""Wearables: shoes, eyewear, headsets, jewelry and bags."""

import numpy as np

from fastreid.synthetic.families.details import (
    make_emblem,
    make_handle,
    make_hole_grid,
    make_knob,
    mount_on_front,
    sample_bar_section,
)
from fastreid.synthetic.geometry.mesh import (
    Mesh,
    as_component,
    circular_pattern,
    extrude,
    loft,
    revolve,
    ring,
    slab,
    torus,
)
from fastreid.synthetic.geometry.outlines import (
    Points,
    circle,
    ellipse,
    lobed_circle,
    polygon,
    rounded_rectangle,
    spline,
    squircle,
)
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def build_shoe(rng: PartRng) -> list[Mesh]:
    """Build a shoe: a sole and an upper, with a shaft, a heel, straps or laces; the toe points to the left."""
    length, width = 2.0, rng.uniform(0.55, 0.75)
    thickness = rng.uniform(0.06, 0.22)
    parts = as_component("sole", _build_sole(rng.next_part(), length, width, thickness))
    rise = np.array([0.12, 0.3, 0.42, 0.62, 0.75, 0.7, 0.66]) * rng.uniform(0.8, 1.3)
    at = np.array([-0.97, -0.8, -0.5, -0.1, 0.3, 0.7, 0.95])
    widths = np.array([0.25, 0.75, 0.95, 0.8, 0.68, 0.72, 0.4]) * width
    low_cut = bernoulli(rng, 0.4)
    knots = spline(np.stack([at, widths, rise * (0.7 if low_cut else 1.0)], axis=1), per_span=4)
    rings = [_upper_section(across, up) + [x * length / 2, 0, thickness] for x, across, up in knots]
    parts.append(loft(np.stack(rings)))
    top = float(knots[len(knots) * 2 // 3, 2]) + thickness
    if bernoulli(rng, 0.75):
        parts += as_component("shaft", _build_shaft(rng.next_part(), width, top, length))
    fastening = rng.next_part()
    x, height = np.linspace(-0.45, 0.1, randint(fastening, 2, 6)), np.interp(np.linspace(-0.45, 0.1, 40), at, rise)
    if bernoulli(fastening, 0.7):
        lace = sample_bar_section(fastening.next_part(), rng.uniform(0.04, 0.1))
        for position in x:
            up = (
                float(np.interp(position, np.linspace(-0.45, 0.1, 40), height)) * (0.75 if low_cut else 1.05)
                + thickness
            )
            path = spline([(0, -width * 0.3, up * 0.8), (0.04, 0, up), (0, width * 0.3, up * 0.8)])
            parts += as_component("laces", [sweep(path, lace).translate(x=float(position))])
    if bernoulli(rng, 0.5):
        badge = make_emblem(rng.next_part(), rng.uniform(0.08, 0.16), 0.1).rotate("x", 90)
        parts += as_component("mark", [badge.translate(x=rng.uniform(0.1, 0.5), y=-width * 0.32, z=thickness + 0.3)])
    return parts


def _upper_section(across: float, up: float) -> Points:
    """Return a cross-section of an upper in the y-z plane, with a flat bottom."""
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    y, z = np.cos(angles) * across / 2, np.maximum(np.sin(angles), -0.02) * up
    return np.stack([0 * y, np.sign(y) * np.abs(y), z], axis=1)


def _build_sole(rng: PartRng, length: float, width: float, thickness: float) -> list[Mesh]:
    outline = spline([(-1, 0), (-0.85, -0.35), (-0.45, -0.5), (0.2, -0.36), (0.8, -0.38), (1, 0), (0.8, 0.38),
                     (0.2, 0.4), (-0.45, 0.5), (-0.85, 0.35), (-1, 0)])[:-1] * [length / 2, width]  # fmt: skip
    parts = [extrude(outline * rng.uniform(1.0, 1.08), thickness)]
    if bernoulli(rng, 0.4):
        parts.append(extrude(outline * 1.1, thickness * 0.35))
    if bernoulli(rng, 0.4):
        high = rng.uniform(0.1, 0.5)
        heel = rounded_rectangle(length * rng.uniform(0.12, 0.3), width * 0.6, radius=0.1)
        parts.append(extrude(heel, high + 0.01).translate(x=length * 0.36, z=-high))
    else:
        cleat = choose(
            rng, slab(0.08, width * 0.8, 0.06), slab(0.12, 0.12, 0.06), extrude(circle(0.06, num_sides=16), 0.06)
        )
        parts += [
            cleat.translate(x=float(x), z=-0.05) for x in np.linspace(-0.75, 0.85, randint(rng, 4, 9)) * length / 2
        ]
    return parts


def _build_shaft(rng: PartRng, width: float, top: float, length: float) -> list[Mesh]:
    height, radius = rng.uniform(0.15, 1.2), width * 0.42
    oval = ellipse(2.0, 1.6)
    side = [(radius * 1.05, 0), (radius, height * 0.3), (radius * rng.uniform(0.95, 1.2), height)]
    inner = [(r - 0.05, z) for r, z in side[::-1]]
    shaft = revolve([*side, *inner], oval, closed=True).translate(x=length * 0.27, z=top * 0.6)
    parts = [shaft]
    if bernoulli(rng, 0.5):
        parts.append(
            ring(radius, 0.05, rng.uniform(0.06, 0.16), outline=oval).translate(x=length * 0.27, z=top * 0.6 + height)
        )
    if bernoulli(rng, 0.4):
        loop = make_handle(rng.next_part(), 0.0, 0.2, reach=0.12, thickness=0.04)
        parts.append(loop.translate(x=length * 0.27 + radius, z=top * 0.6 + height - 0.2))
    return parts


def build_eyewear(rng: PartRng) -> list[Mesh]:
    """Build eyewear: two rims with lenses, a bridge and folding arms."""
    width, height = rng.uniform(0.5, 0.65), rng.uniform(0.3, 0.6)
    rim = _sample_lens(rng.next_part()) * [width, height]
    bar = sample_bar_section(rng.next_part(), rng.uniform(0.03, 0.09))
    parts = []
    center = width * rng.uniform(0.58, 0.7)
    for side in (-1, 1):
        flat = rim * [side, 1]
        path = np.stack([flat[:, 0] + side * center, 0 * flat[:, 0], flat[:, 1]], axis=1)
        parts.append(sweep(path, bar, closed=True))
        lens = extrude((flat if side > 0 else flat[::-1]) * 0.98, 0.015).rotate("x", 90).translate(x=side * center)
        parts += as_component("lenses", [lens])
    low = rng.uniform(-0.1, 0.3) * height
    gap = center - width / 2
    for z in (low, low + height * 0.2)[: randint(rng, 1, 2)]:
        bridge = sweep(spline([(-gap - 0.05, 0, z), (0, -0.03, z + rng.uniform(0.0, 0.12)), (gap + 0.05, 0, z)]), bar)
        parts += as_component("bridge", [bridge])
    temple = rng.next_part()
    section = sample_bar_section(temple.next_part(), temple.uniform(0.05, 0.12))
    drop, reach = temple.uniform(0.1, 0.3), temple.uniform(1.2, 1.6)
    x, z = center + width / 2 + 0.01, height * rng.uniform(0.0, 0.3)
    path = spline([(0, 0, z), (0.02, reach * 0.5, z + 0.02), (0, reach * 0.85, z), (-0.04, reach, z - drop)])
    arm = sweep(path, section, scale=np.linspace(1.0, temple.uniform(0.5, 1.2), len(path)))
    parts += as_component("arm", [arm.translate(x=x)]) + as_component("arm left", [arm.scale(-1, 1, 1).translate(x=-x)])
    hinge = slab(0.08, 0.1, 0.1, radius=0.02)
    return [*parts, hinge.translate(x=x, z=z - 0.05), hinge.translate(x=-x, z=z - 0.05)]


def _sample_lens(rng: PartRng) -> Points:
    """Sample the outline of a lens with a width and height of 1."""
    kind = choose(rng, "round", "square", "drop", "many", "cat")
    if kind == "round":
        return ellipse(1.0, 1.0)
    if kind == "square":
        return rounded_rectangle(1.0, 1.0, radius=rng.uniform(0.1, 0.4))
    if kind == "many":
        return polygon(randint(rng, 6, 8), radius=0.52)
    bulge = rng.uniform(0.1, 0.35) * (1 if kind == "drop" else -1)
    flat = squircle(power=2.6) / 2
    return flat * (1 + bulge * np.stack([-flat[:, 1], flat[:, 0]], axis=1))


def build_headset(rng: PartRng) -> list[Mesh]:
    """Build a headset: a headband with two ear cups."""
    radius = rng.uniform(0.8, 1.0)
    angles = np.linspace(-0.15, np.pi + 0.15, 25)
    path = np.stack([radius * np.cos(angles), 0 * angles, radius * rng.uniform(0.9, 1.2) * np.sin(angles)], axis=1)
    band = rng.next_part()
    parts = as_component("band", [sweep(path, rounded_rectangle(0.05, band.uniform(0.1, 0.35), radius=0.02))])
    if bernoulli(band, 0.5):
        inner = sweep(path[5:-5] * [0.94, 1, 0.94], rounded_rectangle(0.08, 0.2, radius=0.03))
        parts += as_component("cushion", [inner])
    cup = as_component("cups", _build_cup(rng.next_part()))
    for side in (-1, 1):
        parts += [part.rotate("y", 90 * side).translate(x=side * radius * 0.97, z=-0.2) for part in cup]
    if bernoulli(rng, 0.4):
        boom = spline([(-radius, 0, -0.3), (-radius * 0.9, -0.5, -0.6), (-radius * 0.5, -0.9, -0.7)])
        parts += as_component(
            "boom", [sweep(boom, circle(0.03, num_sides=12)), make_knob(rng.next_part(), 0.06).translate(*boom[-1])]
        )
    return parts


def _build_cup(rng: PartRng) -> list[Mesh]:
    outline = choose(rng, circle(), ellipse(1.6, 2.1), squircle(power=3.5), lobed_circle(8, depth=0.08))
    size, depth = rng.uniform(0.3, 0.45), rng.uniform(0.12, 0.3)
    shell = revolve(
        [(size, 0), (size, depth * 0.6), *spline([(size * 0.9, depth * 0.8), (size * 0.5, depth), (0, depth)])], outline
    )
    pad = torus(size * 0.8, rng.uniform(0.1, 0.2), z=-0.03, outline=outline)
    extra = choose(
        rng,
        make_emblem(rng.next_part(), size * 0.5, 0.05).translate(z=depth - 0.03),
        ring(size * 0.5, 0.05, 0.06, z=depth),
    )
    return [shell, pad, extra]


def build_jewel(rng: PartRng) -> list[Mesh]:
    """Build a finger ring with a stone and its setting."""
    thickness = rng.uniform(0.1, 0.3)
    band = rng.next_part()
    section = choose(
        band, circle(thickness / 2, num_sides=16), rounded_rectangle(thickness * 0.6, thickness * 1.6, radius=0.03)
    )
    angles = np.arange(48) * (2 * np.pi / 48)
    path = np.stack([np.cos(angles), 0 * angles, np.sin(angles)], axis=1)
    parts = as_component("band", [sweep(path, section, closed=True)])
    if bernoulli(band, 0.4):
        bead = revolve([(0, -0.07), (0.07, 0), (0, 0.07)], circle(num_sides=8))
        parts += as_component("band", [part.rotate("x", 90) for part in circular_pattern(bead.translate(x=1.0), 24)])
    stone, size = rng.next_part(), rng.uniform(0.25, 0.55)
    outline = choose(stone, polygon(8), polygon(6), ellipse(2.0, 1.5, num_sides=16), polygon(4), circle(num_sides=16))
    gem = revolve([(0, -0.7 * size), (size, 0.15 * size), (0.62 * size, 0.5 * size), (0, 0.5 * size)], outline)
    lift = 1 + thickness / 2 + 0.6 * size
    parts += as_component("stone", [gem.translate(z=lift)])
    prong = sweep(
        [(0.1, 0, -0.7 * size), (size * 0.98, 0, 0.1 * size), (size * 0.85, 0, 0.4 * size)], circle(0.045, num_sides=12)
    )
    parts += as_component(
        "setting", [part.translate(z=lift) for part in circular_pattern(prong, randint(rng, 3, 6), start=30)]
    )
    side_stones = rng.next_part()
    if bernoulli(side_stones, 0.6):
        small = gem.scale(0.45)
        for angle in np.linspace(18, 24, 1) * np.arange(1, randint(side_stones, 2, 4)):
            parts += as_component(
                "small stones",
                [small.translate(z=lift - 0.3).rotate("y", float(side * (angle + 12))) for side in (-1, 1)],
            )
    return parts


def build_bag(rng: PartRng) -> list[Mesh]:
    """Build a bag: a soft body that tapers upwards, with handles, a flap, pockets and feet."""
    width, depth, height = rng.uniform(0.8, 1.5), rng.uniform(0.3, 0.6), rng.uniform(0.7, 1.3)
    taper, radius = rng.uniform(0.5, 1.0), rng.uniform(0.05, 0.2)
    levels = spline(
        [(1.0, 0.9, 0.0), (1.02, 1.0, 0.3), (0.97, 0.9, 0.7), (rng.uniform(0.8, 1.0), taper, 1.0)], per_span=4
    )
    rings = []
    for across, along, z in levels:
        flat = rounded_rectangle(width * across, depth * along, radius=radius)
        rings.append(np.concatenate([flat, np.full((len(flat), 1), z * height)], axis=1))
    parts = [loft(np.stack(rings))]
    grip = rng.next_part()
    handle = make_handle(grip, -width * 0.22, width * 0.22, reach=grip.uniform(0.2, 0.6), thickness=0.07).rotate(
        "y", -90
    )
    sides = choose(grip, (0.0,), (-depth * taper * 0.4, depth * taper * 0.4))
    parts += as_component("handle", [handle.translate(y=y, z=height - 0.02) for y in sides])
    front = rng.next_part()
    if bernoulli(front, 0.5):
        flap = slab(width * 0.9, height * front.uniform(0.3, 0.7), 0.05, radius=0.1, bevel=0.015)
        parts += as_component("lid", [mount_on_front(flap, -depth * 0.5 + 0.02, height * 0.62)])
        parts += as_component(
            "clasp", [mount_on_front(make_emblem(front.next_part(), 0.07, 0.06), -depth * 0.53, height * 0.4)]
        )
    else:
        pocket = extrude(rounded_rectangle(width * 0.7, height * 0.45, radius=0.08), 0.06)
        holes = make_hole_grid(front.next_part(), width * 0.5, height * 0.3)
        holed = extrude(rounded_rectangle(width * 0.7, height * 0.45, radius=0.08), 0.06, holes=holes)
        parts += as_component("pocket", [mount_on_front(choose(front, pocket, holed), -depth * 0.46, height * 0.36)])
    if bernoulli(rng, 0.4):
        strap = spline(
            [
                (-width * 0.48, 0, height * 0.8),
                (-width * 0.3, 0, height * 1.5),
                (width * 0.3, 0, height * 1.5),
                (width * 0.48, 0, height * 0.8),
            ]
        )
        parts += as_component("strap", [sweep(strap, rounded_rectangle(0.04, 0.14, radius=0.01))])
    if bernoulli(rng, 0.4):
        stud = make_knob(rng.next_part(), 0.05).rotate("x", 180)
        parts += as_component(
            "feet", [stud.translate(x=x * width, y=y * depth) for x in (-0.35, 0.35) for y in (-0.3, 0.3)]
        )
    return parts
