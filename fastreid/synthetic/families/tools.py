"""Hand tools."""

import numpy as np

from fastreid.synthetic.families.details import sample_bar_section, sample_fillet, sample_rim, sample_section
from fastreid.synthetic.geometry.mesh import Mesh, as_component, box, circular_pattern, extrude, revolve, ring, slab
from fastreid.synthetic.geometry.outlines import (
    circle,
    ellipse,
    fillet_corners,
    lobed_circle,
    polygon,
    rounded_rectangle,
    spline,
    toothed_circle,
)
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def build_tool(rng: PartRng) -> list[Mesh]:
    """Build a tool: a grip, a shank and a working end, upright or along x."""
    parts, top = _build_grip(rng.next_part())
    shank = rng.uniform(0.1, 0.9)
    bar = choose(rng, circle(0.07, num_sides=16), rounded_rectangle(0.16, 0.08, radius=0.02), polygon(6, radius=0.09))
    parts.append(revolve([(1.0, top - 0.1), (1.0, top + shank)], bar))
    parts += as_component("head", [part.translate(z=top + shank) for part in _build_working_end(rng.next_part())])
    if bernoulli(rng, 0.5):
        parts = [part.rotate("y", 90) for part in parts]
    return parts


def _build_grip(rng: PartRng) -> tuple[list[Mesh], float]:
    """Build a grip from z = 0 up; also return its height."""
    length, thickness = rng.uniform(0.9, 2.0), rng.uniform(0.14, 0.26)
    kind = choose(rng, "turned", "turned", "flat", "loop", "pistol")
    if kind == "turned":
        num = randint(rng, 3, 6)
        radii = thickness * rng.uniform(0.65, 1.15, num)
        side = spline(np.stack([radii, np.linspace(0.05, length, num)], axis=1))
        outline = sample_section(rng.next_part())
        whole = [(0, 0), (radii[0] * 0.7, 0), *side, (thickness * 0.6, length + 0.05), (0, length + 0.05)]
        parts = [revolve(fillet_corners(whole, sample_fillet(rng, 0.5 * thickness)), outline)]
        parts += [
            ring(thickness * 0.7, thickness * rng.uniform(0.25, 0.5), rng.uniform(0.03, 0.1), z=z, outline=outline)
            for z in rng.uniform(0.1, length, randint(rng, 0, 4))
        ]
        return parts, length
    if kind == "flat":
        width = thickness * 2
        holes = (
            [ellipse(width * 0.45, width * rng.uniform(0.45, 1.2)) + [0, -length * 0.36]] if bernoulli(rng, 0.7) else []
        )
        if bernoulli(rng, 0.5):
            holes += [
                circle(width * 0.12, num_sides=16) + [0, y]
                for y in np.linspace(-0.05, 0.35, randint(rng, 2, 3)) * length
            ]
        plate = extrude(
            rounded_rectangle(width, length, radius=width * rng.uniform(0.1, 0.5)), thickness * 0.7, holes=holes
        )
        return [plate.rotate("x", 90).translate(y=thickness * 0.35, z=length / 2)], length
    if kind == "loop":
        half_width = rng.uniform(0.35, 0.6)
        path = rounded_rectangle(2 * half_width, length * 0.6, radius=half_width * rng.uniform(0.3, 0.95))
        path = np.stack([path[:, 0], 0 * path[:, 0], path[:, 1] + length * 0.3], axis=1)
        return [sweep(path, sample_bar_section(rng.next_part(), thickness), closed=True)], length * 0.62
    path = spline([(-0.5, 0, -length * 0.5), (-0.25, 0, -0.2), (-0.05, 0, 0.2), (0, 0, 0.5)])
    barrel = revolve([(0.2, 0.2), (0.24, 0.3), (0.24, 0.8), (0.16, 0.95)], sample_section(rng.next_part()))
    return [sweep(path, rounded_rectangle(0.22, 0.3, radius=0.08)), barrel], 0.9


def _build_working_end(rng: PartRng) -> list[Mesh]:
    """Build the working end of a tool from z = 0 up."""
    kind = choose(rng, "hammer", "blade", "wrench", "brush", "fork", "roller", "whisk", "scoop")
    width, height = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.9)
    if kind == "hammer":
        side = [
            (0, -width),
            (0.16, -width),
            (0.2, -width + 0.05),
            (0.2, -width * 0.5),
            (0.12, -width * 0.4),
            (0.12, width * 0.4),
            (choose(rng, 0.02, 0.2, 0.26), width),
            (0, width),
        ]
        head = revolve(fillet_corners(side, sample_fillet(rng, 0.1)), choose(rng, circle(), polygon(4), polygon(8)))
        return [head.rotate("y", 90).translate(z=0.12)]
    if kind == "brush":
        stock = slab(2 * width, 0.3, 0.16, radius=0.05, **sample_rim(rng, 0.03))
        bristle = revolve([(0.05, 0.1), (rng.uniform(0.02, 0.05), 0.1 + height)], circle(num_sides=12))
        return [
            stock,
            *(
                bristle.translate(x=x, y=y)
                for x in np.linspace(-0.8, 0.8, randint(rng, 4, 8)) * width
                for y in (-0.07, 0.07)
            ),
        ]
    if kind == "fork":
        num = randint(rng, 2, 5)
        tine = sweep(spline([(0, 0, 0), (0, -0.08, height * 0.5), (0, 0.1, height)]), ellipse(0.08, 0.06, num_sides=12))
        bar = slab(2 * width, 0.1, 0.12, radius=0.04)
        return [bar, *(tine.translate(x=x, z=0.06) for x in np.linspace(-0.88, 0.88, num) * width)]
    if kind == "roller":
        drum = revolve(
            [(0.2, -width), (0.2, width)],
            choose(rng, circle(), toothed_circle(10, depth=0.3), lobed_circle(8, depth=0.2)),
        )
        return [drum.rotate("y", 90).translate(z=0.25), box(0.1, 0.1, 0.3)]
    if kind == "whisk":
        angles = np.arange(24) * (2 * np.pi / 24)
        path = np.stack([width * np.sin(angles), 0 * angles, (0.6 + height) * (1 - np.cos(angles))], axis=1)
        wire = sweep(path, circle(0.03, num_sides=12), closed=True)
        return circular_pattern(wire, randint(rng, 2, 4), start=20.0)
    if kind == "scoop":
        bowl = revolve(
            [(0, 0), *spline([(0.15, 0.02), (width * 0.7, 0.3), (width * 0.8, 0.6)]), (width * 0.76, 0.6), (0.0, 0.06)]
        )
        return [bowl.scale(1, rng.uniform(0.5, 1), 1).rotate("x", rng.uniform(0, 80))]
    return [_build_plate_end(rng.next_part(), kind, width, height)]


def _build_plate_end(rng: PartRng, kind: str, width: float, height: float) -> Mesh:
    """Build a blade with slots or an open or ring wrench, cut from a vertical plate."""
    if kind == "blade":
        flare = rng.uniform(0.5, 1.2)
        outline = np.array(
            [
                (-0.12, 0),
                (0.12, 0),
                (width * flare, height * 0.4),
                (width, height * 1.6),
                (-width * rng.uniform(0.2, 1), height * 1.6),
                (-width * flare, height * 0.4),
            ]
        )
        slots = [
            rounded_rectangle(0.06, height * 0.7, radius=0.03) + [x, height]
            for x in np.linspace(-0.2, 0.2, randint(rng, 1, 3)) * width
        ]
        flat = fillet_corners(outline, sample_fillet(rng, 0.4 * width), closed=True)
        plate = extrude(flat, rng.uniform(0.03, 0.08), holes=slots if bernoulli(rng, 0.6) else [])
    elif bernoulli(rng, 0.5):
        hole = choose(rng, polygon(6), toothed_circle(12, depth=0.2), polygon(4), circle()) * width * 0.55
        plate = extrude(circle(width * 0.85) + [0, width * 0.7], 0.16, holes=[hole + [0, width * 0.7]])
    else:
        jaw = np.array(
            [
                (-0.1, 0),
                (0.1, 0),
                (0.75, 0.5),
                (0.9, 1.1),
                (0.75, 1.7),
                (0.45, 1.8),
                (0.42, 0.9),
                (0, 0.72),
                (-0.42, 0.9),
                (-0.42, 1.6),
                (-0.7, 1.6),
                (-0.85, 1.0),
                (-0.7, 0.5),
            ]
        )
        plate = extrude(fillet_corners(jaw * width, sample_fillet(rng, 0.2 * width), closed=True), 0.16)
    return plate.rotate("x", 90).translate(y=0.06, z=-0.05)
