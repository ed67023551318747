"""Furniture: tables, stools, chairs and shelves."""

import numpy as np

from fastreid.synthetic.families.details import (
    make_emblem,
    make_handle,
    make_hole_grid,
    make_knob,
    mount_on_front,
    sample_bar_section,
    sample_rim,
    sample_section,
)
from fastreid.synthetic.geometry.mesh import Mesh, as_component, box, circular_pattern, extrude, revolve, ring, slab
from fastreid.synthetic.geometry.outlines import circle, ellipse, polygon, rounded_rectangle, spline
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def furniture(rng: PartRng) -> list[Mesh]:
    """A table, stool, chair or shelf: a top on legs, with a back, arms, drawers or stretchers."""
    wide, deep, height = rng.uniform(0.6, 1.5), rng.uniform(0.5, 0.9), rng.uniform(0.3, 1.1)
    parts = [
        _top(rng.next_part(), wide, deep).translate(z=height),
        *as_component("legs", _legs(rng.next_part(), wide, deep, height)),
    ]
    role = choose(rng, "table", "chair", "chair", "drawers", "shelf")
    if role == "chair":
        parts += as_component("back", [part.translate(z=height) for part in _back(rng.next_part(), wide, deep)])
        if bernoulli(rng, 0.5):
            arm = make_handle(rng.next_part(), -deep * 0.35, deep * 0.3, reach=rng.uniform(0.25, 0.45), thickness=0.08)
            arm = arm.rotate("x", -90).rotate("y", -90).translate(z=height + 0.03)
            parts += as_component("arms", [arm.translate(x=-wide * 0.45), arm.translate(x=wide * 0.45)])
    elif role == "drawers":
        num = randint(rng, 1, 4)
        tall = min(height * 0.9, 0.22 * num)
        parts.append(box(wide * 0.86, deep * 0.8, tall).translate(z=height - tall + 0.005))
        pull = make_knob(rng.next_part(), 0.04).rotate("x", 90)
        for row in range(num):
            z = height - tall + tall / num * (row + 0.12)
            front = slab(wide * 0.8, 0.06, tall / num * 0.76, radius=0.02).translate(y=-deep * 0.4, z=z)
            tray = box(wide * 0.74, deep * 0.7, tall / num * 0.6).translate(y=-deep * 0.02, z=z)
            drawer = [front, tray, pull.translate(y=-deep * 0.4 - 0.03, z=z + tall / num * 0.38)]
            parts += as_component("drawer" if row == num - 1 else "drawers", drawer)
    elif role == "shelf":
        levels = np.linspace(0.15, 0.8, randint(rng, 1, 3)) * height
        parts += [slab(wide * 0.88, deep * 0.85, 0.05, radius=0.02).translate(z=z) for z in levels]
    else:
        parts.append(ring(min(wide, deep) * 0.2, 0.04, 0.08, z=height - 0.04, outline=sample_section(rng.next_part())))
    if bernoulli(rng, 0.3):
        parts.append(mount_on_front(make_emblem(rng.next_part(), 0.1, 0.2), -deep * 0.5 + 0.1, height + 0.0))
    return parts


def _top(rng: PartRng, wide: float, deep: float) -> Mesh:
    thick = rng.uniform(0.04, 0.14)
    kind = choose(rng, "slab", "slab", "oval", "holed", "cushion", "polygon")
    if kind == "slab":
        return slab(wide, deep, thick, radius=rng.uniform(0.01, 0.25), **sample_rim(rng, thick * 0.3))
    if kind == "oval":
        return extrude(ellipse(wide, deep), thick)
    if kind == "holed":
        holes = make_hole_grid(rng.next_part(), wide * 0.7, deep * 0.7)
        return extrude(rounded_rectangle(wide, deep, radius=0.1), thick, holes=holes)
    if kind == "cushion":
        return slab(wide, deep, thick * 2, radius=0.15, fillet=thick * rng.uniform(0.5, 1.0))
    return extrude(polygon(randint(rng, 5, 8)) * [wide * 0.55, deep * 0.55], thick)


def _legs(rng: PartRng, wide: float, deep: float, height: float) -> list[Mesh]:
    kind = choose(rng, "straight", "splayed", "turned", "pedestal", "panels", "sled")
    thick = rng.uniform(0.05, 0.12)
    x, y = wide * 0.4, deep * 0.4
    corners = [(x, y), (-x, y), (-x, -y), (x, -y)]
    if kind == "pedestal":
        column = revolve(
            spline([(0.18, 0.05), (rng.uniform(0.04, 0.15), height * 0.4), (rng.uniform(0.05, 0.2), height)])
        )
        foot = sweep(
            spline([(0, 0, 0.12), (x * 0.7, 0, 0.08), (x * 1.2, 0, 0.0)]), sample_bar_section(rng.next_part(), thick)
        )
        plate = revolve([(x, 0), (x, 0.05), (0.15, 0.1)], sample_section(rng.next_part()))
        return [column, *(circular_pattern(foot, randint(rng, 3, 6), start=45) if bernoulli(rng, 0.5) else [plate])]
    if kind == "panels":
        cut = [ellipse(deep * 0.5, height * rng.uniform(0.3, 0.6)) + [0, height / 2]] if bernoulli(rng, 0.5) else []
        outline = np.array(
            [(-deep * 0.45, 0), (deep * 0.45, 0), (deep * 0.45, height + 0.01), (-deep * 0.45, height + 0.01)]
        )
        panel = extrude(outline, thick * 0.7, holes=cut).rotate("x", 90).rotate("z", 90)
        return [panel.translate(x=-x), panel.translate(x=x)]
    if kind == "sled":
        path = [(0, -y, height), (0, -y * 1.1, 0), (0, y * 1.1, 0), (0, y, height)]
        runner = sweep(path, sample_bar_section(rng.next_part(), thick))
        return [runner.translate(x=-x), runner.translate(x=x)]
    if kind == "turned":
        radii = rng.uniform(0.3, 0.9, randint(rng, 4, 6)) * thick
        leg = revolve(spline(np.stack([radii, np.linspace(0, height, len(radii))], axis=1)), circle(num_sides=24))
        return [leg.translate(x=a, y=b) for a, b in corners]
    spread = 1.0 if kind == "straight" else rng.uniform(1.15, 1.5)
    bar, taper = sample_bar_section(rng.next_part(), thick), [rng.uniform(0.5, 1.0), 1.0]
    legs = [sweep([(a * spread, b * spread, 0), (a, b, height + 0.01)], bar, scale=taper) for a, b in corners]
    if bernoulli(rng, 0.5):
        z = height * rng.uniform(0.2, 0.5)
        across = sweep([(-x * 1.05, 0, z), (x * 1.05, 0, z)], circle(thick * 0.3, num_sides=12))
        legs += [across.translate(y=-y), across.translate(y=y)]
    return legs


def _back(rng: PartRng, wide: float, deep: float) -> list[Mesh]:
    """A back-rest that rises from z = 0 at the back edge of a seat."""
    tall, lean = rng.uniform(0.5, 1.1), rng.uniform(-14, -3)
    kind = choose(rng, "panel", "slats", "spindles", "hoop", "shell")
    post = sweep([(0, 0, 0), (0, 0, tall)], sample_bar_section(rng.next_part(), 0.07))
    posts = [post.translate(x=-wide * 0.42), post.translate(x=wide * 0.42)]
    if kind == "panel":
        holes = make_hole_grid(rng.next_part(), wide * 0.6, tall * 0.4) if bernoulli(rng, 0.6) else []
        plate = extrude(rounded_rectangle(wide * 0.9, tall * 0.6, radius=rng.uniform(0.02, 0.2)), 0.06, holes=holes)
        parts = [plate.rotate("x", 90).translate(y=0.03, z=tall * 0.65), *posts]
    elif kind == "slats":
        slat = slab(wide * 0.86, 0.04, tall * 0.12, radius=0.01)
        parts = [*posts, *(slat.translate(z=z) for z in np.linspace(0.2, 0.85, randint(rng, 2, 5)) * tall)]
    elif kind == "spindles":
        spindle = revolve([(0.02, 0), (0.035, tall * 0.5), (0.02, tall)], circle(num_sides=12))
        rail = slab(wide * 0.95, 0.08, 0.1, radius=0.03).translate(z=tall)
        parts = [rail, *(spindle.translate(x=x) for x in np.linspace(-0.4, 0.4, randint(rng, 4, 9)) * wide)]
    elif kind == "hoop":
        turns = np.linspace(0, np.pi, 19)
        path = np.stack([wide * 0.45 * np.cos(turns), 0 * turns, tall * np.sin(turns)], axis=1)
        parts = [
            sweep(path, sample_bar_section(rng.next_part(), 0.08)),
            slab(wide * 0.3, 0.04, tall * 0.9, radius=0.02),
        ]
    else:
        parts = [slab(wide * 0.95, 0.1, tall, radius=0.05, **sample_rim(rng, 0.03))]
        parts += [
            slab(wide * 0.9, 0.03, 0.04, radius=0.01).translate(y=-0.05, z=z)
            for z in np.linspace(0.25, 0.75, randint(rng, 1, 3)) * tall
        ]
    return [part.rotate("x", lean).translate(y=deep * 0.42) for part in parts]
