"""Details shared by the families: cross-sections, knobs, handles, feet, emblems and grids of holes."""

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh, circular_pattern, extrude, revolve, slab
from fastreid.synthetic.geometry.outlines import (
    Points,
    circle,
    ellipse,
    fillet_corners,
    lobed_circle,
    polygon,
    rounded_rectangle,
    spline,
    squircle,
    star,
    toothed_circle,
)
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def sample_rim(rng: PartRng, size: float) -> dict[str, float]:
    """Sample the edge treatment of a slab, as keyword arguments: none, a bevel or a fillet of about `size`."""
    return choose(rng, {}, {"bevel": size}, {"fillet": size * rng.uniform(0.7, 2.0)})


def sample_fillet(rng: PartRng, max_radius: float) -> float:
    """Sample a fillet radius: 0 with probability 0.5, otherwise 0.3 to 1 times `max_radius`."""
    return rng.uniform(0.3, 1.0) * max_radius if bernoulli(rng, 0.5) else 0.0


def sample_section(rng: PartRng) -> Points:
    """Sample the cross-section of a body, with a radius of about 1: round, squircle, polygon, oval, lobed or square."""
    kind = choose(rng, "round", "round", "squircle", "polygon", "oval", "lobed", "square")
    if kind == "round":
        return circle()
    if kind == "squircle":
        return squircle(power=rng.uniform(3.0, 6.0)) * [1.0, rng.uniform(0.6, 1.0)]
    if kind == "polygon":
        return polygon(randint(rng, 4, 8))
    if kind == "oval":
        return ellipse(2.0, rng.uniform(0.9, 1.6))
    if kind == "lobed":
        return lobed_circle(randint(rng, 5, 14), depth=rng.uniform(0.05, 0.16))
    return rounded_rectangle(2.0, rng.uniform(1.0, 2.0), radius=rng.uniform(0.08, 0.5))


def sample_bar_section(rng: PartRng, size: float) -> Points:
    """Sample the cross-section of a bar with about the given thickness."""
    kind = choose(rng, "round", "flat", "square", "oval")
    if kind == "round":
        return circle(size / 2, num_sides=16)
    if kind == "flat":
        return rounded_rectangle(size * rng.uniform(1.3, 2.2), size * 0.6, radius=size * 0.2)
    if kind == "square":
        return rounded_rectangle(size, size, radius=size * rng.uniform(0.03, 0.3))
    return ellipse(size * rng.uniform(0.6, 0.8), size * 1.3, num_sides=24)


def make_knob(rng: PartRng, radius: float) -> Mesh:
    """Make a small knob on z = 0; it extends slightly below, so that it intersects the part under it."""
    height, neck = radius * rng.uniform(0.8, 2.0), radius * rng.uniform(0.35, 0.8)
    kind = choose(rng, "ball", "drum", "cone")
    if kind == "ball":
        head = [
            (neck, height * 0.4),
            *spline([(neck, height * 0.4), (radius, height), (radius * 0.7, height * 1.6), (0, height * 1.8)]),
        ]
        return revolve([(neck, -0.2 * radius), *head])
    if kind == "drum":
        outline = choose(
            rng,
            circle(),
            toothed_circle(randint(rng, 6, 10), depth=0.15),
            polygon(6),
            lobed_circle(randint(rng, 3, 6), depth=0.25),
        )
        side = [(radius, -0.2 * radius), (radius, height), (radius * 0.85, height * 1.15), (0, height * 1.15)]
        return revolve(fillet_corners(side, sample_fillet(rng, 0.4 * radius)), outline)
    side = [(neck, -0.2 * radius), (radius, height), (radius, height * 1.3), (0, height * 1.5)]
    return revolve(fillet_corners(side, sample_fillet(rng, 0.3 * radius)))


def make_handle(rng: PartRng, low: float, high: float, *, reach: float, thickness: float) -> Mesh:
    """Make a handle in the x-z plane, from (0, low) to x = reach and back to (0, high)."""
    kind = choose(rng, "ear", "round", "square", "hook")
    center = (low + high) / 2
    if kind == "square":
        path: object = [(-0.05, 0, low), (reach, 0, low), (reach, 0, high), (-0.05, 0, high)]
    elif kind == "round":
        angles = np.linspace(-np.pi / 2, np.pi / 2, 17)
        path = np.stack([reach * np.cos(angles), 0 * angles, center + (high - low) / 2 * np.sin(angles)], axis=1)
    elif kind == "ear":
        top = reach * rng.uniform(0.8, 1.2)
        path = spline([(0, 0, low), (reach * 0.6, 0, low + 0.1 * (high - low)), (top, 0, high - 0.25 * (high - low)),
                      (reach * 0.6, 0, high), (-0.05, 0, high - 0.02)])  # fmt: skip
    else:
        path = spline([(0, 0, high), (reach * 0.8, 0, high), (reach, 0, center), (reach * 0.8, 0, low)])
    return sweep(path, sample_bar_section(rng.next_part(), thickness))


def make_emblem(rng: PartRng, size: float, height: float) -> Mesh:
    """Make an emblem or plate on z = 0 whose upward direction is y."""
    kind = choose(rng, "star", "disc", "plate", "polygon", "ring", "cog", "arrow")
    if kind == "star":
        points = star(randint(rng, 4, 8), depth=rng.uniform(0.3, 0.6))
        return extrude(fillet_corners(points * size, sample_fillet(rng, 0.15 * size), closed=True), height)
    if kind == "disc":
        return extrude(ellipse(2 * size, size * rng.uniform(0.8, 2.0)), height)
    if kind == "plate":
        flat = 2 * size, size * rng.uniform(0.6, 1.6)
        return slab(*flat, height, radius=size * rng.uniform(0.0, 0.3), fillet=sample_fillet(rng, 0.2 * size))
    if kind == "polygon":
        return extrude(
            fillet_corners(polygon(randint(rng, 3, 6)) * size, sample_fillet(rng, 0.3 * size), closed=True), height
        )
    if kind == "ring":
        inner = size * rng.uniform(0.5, 0.8)
        return extrude(circle(size), height, holes=[circle(inner, num_sides=32)])
    if kind == "cog":
        return extrude(toothed_circle(randint(rng, 6, 12), depth=0.25) * size, height)
    arrow = np.array([(-0.3, -1), (0.3, -1), (0.3, 0.1), (0.75, 0.1), (0, 1), (-0.75, 0.1), (-0.3, 0.1)])
    return extrude(fillet_corners(arrow * size, sample_fillet(rng, 0.15 * size), closed=True), height)


def mount_on_front(part: Mesh, y: float, z: float) -> Mesh:
    """Mount a part made on z = 0 on a vertical front: its top faces the viewer, its y axis points up."""
    return part.rotate("x", 90).translate(y=y, z=z)


def make_feet(rng: PartRng, radius: float, height: float) -> list[Mesh]:
    """Make three to six short feet below z = 0."""
    foot = revolve([(0.14 * radius, -height), (rng.uniform(0.14, 0.24) * radius, 0.02)]).translate(x=radius * 0.75)
    return circular_pattern(foot, randint(rng, 3, 6), start=45.0)


def make_hole_grid(rng: PartRng, width: float, depth: float) -> list[Points]:
    """Make a grid of equal holes in a field of the given size, as in a grille; holes do not touch."""
    columns, rows = randint(rng, 2, 7), randint(rng, 1, 4)
    across, along = width / columns, depth / rows
    kind = choose(rng, "round", "slot", "slot", "hexagon", "square")
    size = min(across, along) * rng.uniform(0.5, 0.75)
    if kind == "round":
        hole = circle(size / 2, num_sides=20)
    elif kind == "hexagon":
        hole = polygon(6, radius=size / 2)
    elif kind == "square":
        hole = rounded_rectangle(size, size, radius=size * 0.1)
    else:
        hole = rounded_rectangle(across * rng.uniform(0.3, 0.75), along * 0.75, radius=size * choose(rng, 0.02, 0.5))
    xs = (np.arange(columns) - (columns - 1) / 2) * across
    ys = (np.arange(rows) - (rows - 1) / 2) * along
    return [hole + [x, y] for y in ys for x in xs]
