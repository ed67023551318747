"""Toys."""

import numpy as np

from fastreid.synthetic.families.details import make_knob
from fastreid.synthetic.geometry.mesh import Mesh, as_component, revolve
from fastreid.synthetic.geometry.outlines import circle, spline, squircle
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose


def build_toy(rng: PartRng) -> list[Mesh]:
    """Build an animal or figure of ellipsoids."""
    parts = [_build_ellipsoid(rng.next_part(), 0.6)]
    head_part, up = rng.next_part(), rng.uniform(0.5, 0.9)
    forward = choose(rng, 0.0, 0.55)
    head = [_build_ellipsoid(head_part, head_part.uniform(0.3, 0.5))]
    ear = rng.next_part()
    shape = choose(
        ear,
        _build_ellipsoid(ear.next_part(), 0.16),
        revolve([(0.14, 0), (0.02, 0.4)]),
        revolve([(0.05, 0), (0.1, 0.5), (0.0, 0.6)]),
    )
    head += as_component("ears", [shape.rotate("y", 25 * s).translate(x=s * 0.2, z=0.26) for s in (-1, 1)])
    face = rng.next_part()
    head += as_component(
        "face", [make_knob(face, 0.06).rotate("x", 90).translate(x=s * 0.14, y=-0.3, z=0.08) for s in (-1, 1)]
    )
    head += as_component("face", [_build_ellipsoid(face.next_part(), 0.14).translate(y=-0.34, z=-0.08)])
    parts += [part.translate(y=-forward, z=up) for part in head]
    leg = rng.next_part()
    limb = revolve(
        [(leg.uniform(0.1, 0.2), -0.7), (leg.uniform(0.1, 0.18), 0.0)], choose(leg, circle(), squircle(power=4))
    )
    for s in (-1, 1):
        for y in (-0.3, 0.3) if forward else (0.0,):
            parts += as_component("legs", [limb.translate(x=s * 0.3, y=y, z=-0.1)])
    arms = rng.next_part()
    if not forward:
        arm = sweep(
            spline([(0.4, 0, 0.25), (0.75, -0.15, arms.uniform(0, 0.4)), (0.9, -0.4, arms.uniform(-0.1, 0.5))]),
            circle(0.11, num_sides=16),
        )
        parts += as_component("arms", [arm, arm.scale(-1, 1, 1)])
    tail = rng.next_part()
    if bernoulli(tail, 0.6):
        path = spline([(0, 0.45, 0), (0, 0.8, tail.uniform(0, 0.4)), (0, 1.0, tail.uniform(0, 0.8))])
        parts += as_component("tail", [sweep(path, circle(tail.uniform(0.04, 0.12), num_sides=16))])
    return parts


def _build_ellipsoid(rng: PartRng, size: float) -> Mesh:
    angles = np.linspace(-np.pi / 2, np.pi / 2, 19)
    ball = revolve(
        np.stack([np.cos(angles), np.sin(angles)], axis=1) * size,
        choose(rng, circle(num_sides=32), squircle(power=2.6, num_sides=32)),
    )
    return ball.scale(*rng.uniform(0.75, 1.25, 3).tolist())
