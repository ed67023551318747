"""Details that objects of every family wear: cross-sections, knobs, handles, feet, marks and rows of holes."""

from typing import TypeVar

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh, around, extrude, slab, turn
from fastreid.synthetic.geometry.outlines import (
    Points,
    circle,
    curve,
    ellipse,
    filleted,
    lobed,
    polygon,
    rounded_rectangle,
    squircle,
    star,
    toothed,
)
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.part_rng import Draws

Rng = Draws
Option = TypeVar("Option")


def pick(rng: Rng, *options: Option) -> Option:
    """One of the options, all as likely."""
    return options[int(rng.integers(len(options)))]


def chance(rng: Rng, share: float) -> bool:
    """True in that share of the draws."""
    return bool(rng.random() < share)


def count(rng: Rng, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(rng.integers(low, high + 1))


def rims(rng: Rng, size: float) -> dict[str, float]:
    """How the rims of a slab are made, as it takes it: sharp, cut or round, up to that size."""
    return pick(rng, {}, {"bevel": size}, {"fillet": size * rng.uniform(0.7, 2.0)})


def edge(rng: Rng, most: float) -> float:
    """Radius of the edges of a thing; half of all things have sharp ones, 0."""
    return rng.uniform(0.3, 1.0) * most if chance(rng, 0.5) else 0.0


def section(rng: Rng) -> Points:
    """A cross-section of about radius 1 for a body: round, squarish, many-sided, oval or fluted."""
    kind = pick(rng, "round", "round", "squircle", "polygon", "oval", "lobed", "square")
    if kind == "round":
        return circle()
    if kind == "squircle":
        return squircle(power=rng.uniform(3.0, 6.0)) * [1.0, rng.uniform(0.6, 1.0)]
    if kind == "polygon":
        return polygon(count(rng, 4, 8))
    if kind == "oval":
        return ellipse(2.0, rng.uniform(0.9, 1.6))
    if kind == "lobed":
        return lobed(count(rng, 5, 14), depth=rng.uniform(0.05, 0.16))
    return rounded_rectangle(2.0, rng.uniform(1.0, 2.0), radius=rng.uniform(0.08, 0.5))


def grip_section(rng: Rng, size: float) -> Points:
    """A cross-section for a bar of about that thickness."""
    kind = pick(rng, "round", "flat", "square", "oval")
    if kind == "round":
        return circle(size / 2, num_sides=16)
    if kind == "flat":
        return rounded_rectangle(size * rng.uniform(1.3, 2.2), size * 0.6, radius=size * 0.2)
    if kind == "square":
        return rounded_rectangle(size, size, radius=size * rng.uniform(0.03, 0.3))
    return ellipse(size * rng.uniform(0.6, 0.8), size * 1.3, num_sides=24)


def knob(rng: Rng, radius: float) -> Mesh:
    """A small turned knob that stands on z = 0 and reaches below it a little, to sit in what it stands on."""
    tall, neck = radius * rng.uniform(0.8, 2.0), radius * rng.uniform(0.35, 0.8)
    kind = pick(rng, "ball", "drum", "cone")
    if kind == "ball":
        head = [
            (neck, tall * 0.4),
            *curve([(neck, tall * 0.4), (radius, tall), (radius * 0.7, tall * 1.6), (0, tall * 1.8)]),
        ]
        return turn([(neck, -0.2 * radius), *head])
    if kind == "drum":
        outline = pick(
            rng, circle(), toothed(count(rng, 6, 10), depth=0.15), polygon(6), lobed(count(rng, 3, 6), depth=0.25)
        )
        side = [(radius, -0.2 * radius), (radius, tall), (radius * 0.85, tall * 1.15), (0, tall * 1.15)]
        return turn(filleted(side, edge(rng, 0.4 * radius)), outline)
    side = [(neck, -0.2 * radius), (radius, tall), (radius, tall * 1.3), (0, tall * 1.5)]
    return turn(filleted(side, edge(rng, 0.3 * radius)))


def bow(rng: Rng, low: float, high: float, *, reach: float, thickness: float) -> Mesh:
    """A handle in the plane x-z, from (0, low) out to x = reach and back to (0, high)."""
    kind = pick(rng, "ear", "round", "square", "hook")
    middle = (low + high) / 2
    if kind == "square":
        path: object = [(-0.05, 0, low), (reach, 0, low), (reach, 0, high), (-0.05, 0, high)]
    elif kind == "round":
        turns = np.linspace(-np.pi / 2, np.pi / 2, 17)
        path = np.stack([reach * np.cos(turns), 0 * turns, middle + (high - low) / 2 * np.sin(turns)], axis=1)
    elif kind == "ear":
        top = reach * rng.uniform(0.8, 1.2)
        path = curve([(0, 0, low), (reach * 0.6, 0, low + 0.1 * (high - low)), (top, 0, high - 0.25 * (high - low)),
                      (reach * 0.6, 0, high), (-0.05, 0, high - 0.02)])  # fmt: skip
    else:
        path = curve([(0, 0, high), (reach * 0.8, 0, high), (reach, 0, middle), (reach * 0.8, 0, low)])
    return sweep(path, grip_section(rng.part(), thickness))


def mark(rng: Rng, size: float, height: float) -> Mesh:
    """An emblem or plate that stands on z = 0, with its upright axis along y."""
    kind = pick(rng, "star", "disc", "plate", "polygon", "ring", "cog", "arrow")
    if kind == "star":
        points = star(count(rng, 4, 8), depth=rng.uniform(0.3, 0.6))
        return extrude(filleted(points * size, edge(rng, 0.15 * size), closed=True), height)
    if kind == "disc":
        return extrude(ellipse(2 * size, size * rng.uniform(0.8, 2.0)), height)
    if kind == "plate":
        flat = 2 * size, size * rng.uniform(0.6, 1.6)
        return slab(*flat, height, radius=size * rng.uniform(0.0, 0.3), fillet=edge(rng, 0.2 * size))
    if kind == "polygon":
        return extrude(filleted(polygon(count(rng, 3, 6)) * size, edge(rng, 0.3 * size), closed=True), height)
    if kind == "ring":
        inner = size * rng.uniform(0.5, 0.8)
        return extrude(circle(size), height, holes=[circle(inner, num_sides=32)])
    if kind == "cog":
        return extrude(toothed(count(rng, 6, 12), depth=0.25) * size, height)
    arrow = np.array([(-0.3, -1), (0.3, -1), (0.3, 0.1), (0.75, 0.1), (0, 1), (-0.75, 0.1), (-0.3, 0.1)])
    return extrude(filleted(arrow * size, edge(rng, 0.15 * size), closed=True), height)


def on_front(part: Mesh, y: float, z: float) -> Mesh:
    """Hang a part made on z = 0 on an upright front: its top looks to the viewer, its y axis is up."""
    return part.turned("x", 90).moved(y=y, z=z)


def feet(rng: Rng, radius: float, height: float) -> list[Mesh]:
    """Three to six short feet below z = 0."""
    foot = turn([(0.14 * radius, -height), (rng.uniform(0.14, 0.24) * radius, 0.02)]).moved(x=radius * 0.75)
    return around(foot, count(rng, 3, 6), start=45.0)


def hole_rows(rng: Rng, width: float, depth: float) -> list[Points]:
    """A grid of holes of one kind within a field of that size, as in a grille; no two touch."""
    columns, rows = count(rng, 2, 7), count(rng, 1, 4)
    across, along = width / columns, depth / rows
    kind = pick(rng, "round", "slot", "slot", "hexagon", "square")
    size = min(across, along) * rng.uniform(0.5, 0.75)
    if kind == "round":
        hole = circle(size / 2, num_sides=20)
    elif kind == "hexagon":
        hole = polygon(6, radius=size / 2)
    elif kind == "square":
        hole = rounded_rectangle(size, size, radius=size * 0.1)
    else:
        hole = rounded_rectangle(across * rng.uniform(0.3, 0.75), along * 0.75, radius=size * pick(rng, 0.02, 0.5))
    xs = (np.arange(columns) - (columns - 1) / 2) * across
    ys = (np.arange(rows) - (rows - 1) / 2) * along
    return [hole + [x, y] for y in ys for x in xs]
