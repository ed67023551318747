"""Household appliances: lamps and fans."""

import numpy as np

from fastreid.synthetic.families.details import make_knob, sample_bar_section, sample_fillet, sample_rim, sample_section
from fastreid.synthetic.geometry.mesh import Mesh, as_component, box, circular_pattern, revolve, ring, slab, torus
from fastreid.synthetic.geometry.outlines import circle, ellipse, fillet_corners, lobed_circle, polygon, spline
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def build_lamp(rng: PartRng) -> list[Mesh]:
    """Build a lamp: a base, a stem and a shade."""
    height, lean = rng.uniform(1.0, 2.6), rng.uniform(-0.7, 0.7) if bernoulli(rng, 0.5) else 0.0
    if lean:
        stem_path = spline([(0, 0, 0), (-lean * rng.uniform(0.0, 0.8), 0, height * 0.5), (lean, 0, height)])
    else:
        stem_path = np.array([(0, 0, 0), (0, 0, height)], dtype=float)
    stem = sweep(stem_path, circle(rng.uniform(0.03, 0.09), num_sides=16))
    if not lean and bernoulli(rng, 0.5):
        radii = rng.uniform(0.05, 0.3, randint(rng, 3, 6))
        stem = revolve(
            spline(np.stack([radii, np.linspace(0, height, len(radii))], axis=1)), sample_section(rng.next_part())
        )
    tilt = lean and rng.uniform(0, 60) * np.sign(lean)
    shade = [part.rotate("y", tilt).translate(x=lean, z=height) for part in _build_lampshade(rng.next_part())]
    return [*as_component("base", _build_lamp_base(rng.next_part())), stem, *as_component("shade", shade)]


def _build_lamp_base(rng: PartRng) -> list[Mesh]:
    kind = choose(rng, "disc", "slab", "tripod", "dome", "clamp")
    width = rng.uniform(0.3, 0.6)
    if kind == "disc":
        side = [(0, -0.1), (width, -0.1), (width, -0.02), (width * 0.8, 0.05), (0, 0.05)]
        return [revolve(fillet_corners(side, sample_fillet(rng, 0.06)), sample_section(rng.next_part()))]
    if kind == "slab":
        return [
            slab(width * 2, width * rng.uniform(1.0, 2.0), 0.14, radius=0.1, **sample_rim(rng, 0.04)).translate(z=-0.12)
        ]
    if kind == "tripod":
        foot = sweep(
            spline([(0, 0, 0.1), (width * 0.6, 0, 0.05), (width * 1.3, 0, -0.35)]),
            sample_bar_section(rng.next_part(), 0.1),
        )
        return [*circular_pattern(foot, randint(rng, 3, 5), start=90), revolve([(0.12, -0.02), (0.12, 0.2)])]
    if kind == "dome":
        return [
            revolve(
                [(width, -0.15), *spline([(width, -0.1), (width * 0.7, 0.12), (0.06, 0.2)])],
                sample_section(rng.next_part()),
            )
        ]
    return [
        slab(0.5, 0.3, 0.12, radius=0.04).translate(z=-0.06),
        slab(0.12, 0.3, 0.6, radius=0.02).translate(x=-0.2, z=-0.6),
        slab(0.4, 0.3, 0.1, radius=0.04).translate(x=-0.05, z=-0.62),
        make_knob(rng.next_part(), 0.1).rotate("x", 180).translate(z=-0.6),
    ]


def _build_lampshade(rng: PartRng) -> list[Mesh]:
    """Build a lampshade around z = 0, open at the bottom."""
    kind = choose(rng, "cone", "bell", "drum", "globe", "bar", "petals")
    width, height = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8)
    outline = choose(
        rng, circle(), circle(), polygon(randint(rng, 4, 8)), lobed_circle(randint(rng, 6, 14), depth=0.12)
    )
    if kind == "globe":
        side = np.linspace(-1.35, 1.57, 22)
        shade = revolve(np.stack([width * 0.8 * np.cos(side), width * 0.8 * np.sin(side)], axis=1), outline)
        return [shade.translate(z=width * 0.5), ring(0.1, 0.12, 0.12, z=-width * 0.25)]
    if kind == "bar":
        return [
            slab(width * 2.2, 0.2, 0.12, radius=0.08, **sample_rim(rng, 0.03)),
            box(width * 1.8, 0.12, 0.06).translate(z=-0.04),
        ]
    if kind == "petals":
        petal = sweep(
            spline([(0.05, 0, 0.1), (width * 0.6, 0, 0.15), (width, 0, -height * 0.6)]),
            np.array([(-0.2, -0.02), (0.2, -0.02), (0.2, 0.02), (-0.2, 0.02)]),
        )
        return [*circular_pattern(petal, randint(rng, 4, 7)), revolve([(0.14, -0.05), (0.14, 0.25)])]
    small = width * rng.uniform(0.2, 0.9)
    if kind == "cone":
        side = np.array([(width, -height), (small, height * 0.3)])
    elif kind == "drum":
        side = np.array([(width, -height * 0.7), (width, height * 0.3)])
    else:
        side = spline([(width, -height), (width * 0.8, -height * 0.2), (small * 0.5, height * 0.3)])
    inner = [(radius - 0.03, z - 0.01) for radius, z in side[::-1]]
    top = [(0.0, float(side[-1][1]))] if bernoulli(rng, 0.6) or kind == "bell" else []
    under = [(0.0, float(side[-1][1]) - 0.02)] if top else []
    return [
        revolve([*side, *top, *under, *inner], outline, closed=not top),
        *([make_knob(rng.next_part(), 0.08).translate(z=height * 0.3)] if top else []),
    ]


def build_fan(rng: PartRng) -> list[Mesh]:
    """Build a fan: blades in a round guard on a stand."""
    cage, hub = rng.next_part(), rng.uniform(0.14, 0.3)
    parts = []
    for z in (-0.2, 0.2):
        parts += as_component("guard", [torus(1.0, 0.06, z=z), torus(cage.uniform(0.5, 0.75), 0.03, z=z * 1.4)])
    wire = sweep(spline([(hub * 0.7, 0, 0.32), (0.6, 0, 0.3), (1.0, 0, 0.2)]), circle(0.015, num_sides=8))
    wires = circular_pattern(wire, randint(cage, 10, 28))
    parts += as_component("guard", [*wires, revolve([(hub, 0.28), (hub, 0.36), (hub * 0.8, 0.38)])])
    blades = rng.next_part()
    blade = sweep(
        spline([(hub * 0.8, 0, 0), (0.55, blades.uniform(-0.1, 0.2), 0), (0.9, blades.uniform(0.0, 0.4), 0)]),
        ellipse(blades.uniform(0.3, 0.6), 0.03, num_sides=16) @ np.array([[0.8, 0.35], [-0.35, 0.8]]),
    )
    parts += as_component(
        "blades",
        [*circular_pattern(blade, randint(blades, 3, 6)), revolve([(hub, -0.15), (hub, 0.15), (hub * 0.6, 0.2)])],
    )
    parts += as_component("motor", [revolve([(0.2, -0.6), (0.3, -0.5), (0.3, -0.15)], sample_section(rng.next_part()))])
    parts = [part.rotate("x", 90) for part in parts]
    base = rng.next_part()
    drop = base.uniform(1.2, 2.2)
    parts += as_component(
        "stand", [sweep([(0, 0.35, -0.1), (0, 0.35, -drop)], sample_bar_section(base.next_part(), 0.14))]
    )
    foot = revolve([(0.6, 0), (0.6, 0.06), (0.15, 0.16)], sample_section(base.next_part()))
    return [
        *parts,
        *as_component("stand", [choose(base, foot, slab(1.2, 0.8, 0.1, radius=0.1)).translate(y=0.35, z=-drop)]),
    ]
