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


def build_furniture(rng: PartRng) -> list[Mesh]:
    """Build a table, stool, chair or shelf: a top on legs, with a backrest, arms, drawers, shelves or a ring."""
    width, depth, height = rng.uniform(0.6, 1.5), rng.uniform(0.5, 0.9), rng.uniform(0.3, 1.1)
    parts = [
        _build_tabletop(rng.next_part(), width, depth).translate(z=height),
        *as_component("legs", _build_legs(rng.next_part(), width, depth, height)),
    ]
    role = choose(rng, "table", "chair", "chair", "drawers", "shelf")
    if role == "chair":
        parts += as_component(
            "back", [part.translate(z=height) for part in _build_backrest(rng.next_part(), width, depth)]
        )
        if bernoulli(rng, 0.5):
            arm = make_handle(
                rng.next_part(), -depth * 0.35, depth * 0.3, reach=rng.uniform(0.25, 0.45), thickness=0.08
            )
            arm = arm.rotate("x", -90).rotate("y", -90).translate(z=height + 0.03)
            parts += as_component("arms", [arm.translate(x=-width * 0.45), arm.translate(x=width * 0.45)])
    elif role == "drawers":
        num = randint(rng, 1, 4)
        drawers_height = min(height * 0.9, 0.22 * num)
        parts.append(box(width * 0.86, depth * 0.8, drawers_height).translate(z=height - drawers_height + 0.005))
        pull = make_knob(rng.next_part(), 0.04).rotate("x", 90)
        for row in range(num):
            z = height - drawers_height + drawers_height / num * (row + 0.12)
            front = slab(width * 0.8, 0.06, drawers_height / num * 0.76, radius=0.02).translate(y=-depth * 0.4, z=z)
            tray = box(width * 0.74, depth * 0.7, drawers_height / num * 0.6).translate(y=-depth * 0.02, z=z)
            drawer = [front, tray, pull.translate(y=-depth * 0.4 - 0.03, z=z + drawers_height / num * 0.38)]
            parts += as_component("drawer" if row == num - 1 else "drawers", drawer)
    elif role == "shelf":
        levels = np.linspace(0.15, 0.8, randint(rng, 1, 3)) * height
        parts += [slab(width * 0.88, depth * 0.85, 0.05, radius=0.02).translate(z=z) for z in levels]
    else:
        parts.append(
            ring(min(width, depth) * 0.2, 0.04, 0.08, z=height - 0.04, outline=sample_section(rng.next_part()))
        )
    if bernoulli(rng, 0.3):
        parts.append(mount_on_front(make_emblem(rng.next_part(), 0.1, 0.2), -depth * 0.5 + 0.1, height + 0.0))
    return parts


def _build_tabletop(rng: PartRng, width: float, depth: float) -> Mesh:
    thickness = rng.uniform(0.04, 0.14)
    kind = choose(rng, "slab", "slab", "oval", "holed", "cushion", "polygon")
    if kind == "slab":
        return slab(width, depth, thickness, radius=rng.uniform(0.01, 0.25), **sample_rim(rng, thickness * 0.3))
    if kind == "oval":
        return extrude(ellipse(width, depth), thickness)
    if kind == "holed":
        holes = make_hole_grid(rng.next_part(), width * 0.7, depth * 0.7)
        return extrude(rounded_rectangle(width, depth, radius=0.1), thickness, holes=holes)
    if kind == "cushion":
        return slab(width, depth, thickness * 2, radius=0.15, fillet=thickness * rng.uniform(0.5, 1.0))
    return extrude(polygon(randint(rng, 5, 8)) * [width * 0.55, depth * 0.55], thickness)


def _build_legs(rng: PartRng, width: float, depth: float, height: float) -> list[Mesh]:
    kind = choose(rng, "straight", "splayed", "turned", "pedestal", "panels", "sled")
    thickness = rng.uniform(0.05, 0.12)
    x, y = width * 0.4, depth * 0.4
    corners = [(x, y), (-x, y), (-x, -y), (x, -y)]
    if kind == "pedestal":
        column = revolve(
            spline([(0.18, 0.05), (rng.uniform(0.04, 0.15), height * 0.4), (rng.uniform(0.05, 0.2), height)])
        )
        foot = sweep(
            spline([(0, 0, 0.12), (x * 0.7, 0, 0.08), (x * 1.2, 0, 0.0)]),
            sample_bar_section(rng.next_part(), thickness),
        )
        plate = revolve([(x, 0), (x, 0.05), (0.15, 0.1)], sample_section(rng.next_part()))
        return [column, *(circular_pattern(foot, randint(rng, 3, 6), start=45) if bernoulli(rng, 0.5) else [plate])]
    if kind == "panels":
        cut = [ellipse(depth * 0.5, height * rng.uniform(0.3, 0.6)) + [0, height / 2]] if bernoulli(rng, 0.5) else []
        outline = np.array(
            [(-depth * 0.45, 0), (depth * 0.45, 0), (depth * 0.45, height + 0.01), (-depth * 0.45, height + 0.01)]
        )
        panel = extrude(outline, thickness * 0.7, holes=cut).rotate("x", 90).rotate("z", 90)
        return [panel.translate(x=-x), panel.translate(x=x)]
    if kind == "sled":
        path = [(0, -y, height), (0, -y * 1.1, 0), (0, y * 1.1, 0), (0, y, height)]
        runner = sweep(path, sample_bar_section(rng.next_part(), thickness))
        return [runner.translate(x=-x), runner.translate(x=x)]
    if kind == "turned":
        radii = rng.uniform(0.3, 0.9, randint(rng, 4, 6)) * thickness
        leg = revolve(spline(np.stack([radii, np.linspace(0, height, len(radii))], axis=1)), circle(num_sides=24))
        return [leg.translate(x=a, y=b) for a, b in corners]
    spread = 1.0 if kind == "straight" else rng.uniform(1.15, 1.5)
    bar, taper = sample_bar_section(rng.next_part(), thickness), [rng.uniform(0.5, 1.0), 1.0]
    legs = [sweep([(a * spread, b * spread, 0), (a, b, height + 0.01)], bar, scale=taper) for a, b in corners]
    if bernoulli(rng, 0.5):
        z = height * rng.uniform(0.2, 0.5)
        across = sweep([(-x * 1.05, 0, z), (x * 1.05, 0, z)], circle(thickness * 0.3, num_sides=12))
        legs += [across.translate(y=-y), across.translate(y=y)]
    return legs


def _build_backrest(rng: PartRng, width: float, depth: float) -> list[Mesh]:
    """Build a backrest from z = 0 up at the back edge of a seat."""
    height, lean = rng.uniform(0.5, 1.1), rng.uniform(-14, -3)
    kind = choose(rng, "panel", "slats", "spindles", "hoop", "shell")
    post = sweep([(0, 0, 0), (0, 0, height)], sample_bar_section(rng.next_part(), 0.07))
    posts = [post.translate(x=-width * 0.42), post.translate(x=width * 0.42)]
    if kind == "panel":
        holes = make_hole_grid(rng.next_part(), width * 0.6, height * 0.4) if bernoulli(rng, 0.6) else []
        plate = extrude(rounded_rectangle(width * 0.9, height * 0.6, radius=rng.uniform(0.02, 0.2)), 0.06, holes=holes)
        parts = [plate.rotate("x", 90).translate(y=0.03, z=height * 0.65), *posts]
    elif kind == "slats":
        slat = slab(width * 0.86, 0.04, height * 0.12, radius=0.01)
        parts = [*posts, *(slat.translate(z=z) for z in np.linspace(0.2, 0.85, randint(rng, 2, 5)) * height)]
    elif kind == "spindles":
        spindle = revolve([(0.02, 0), (0.035, height * 0.5), (0.02, height)], circle(num_sides=12))
        rail = slab(width * 0.95, 0.08, 0.1, radius=0.03).translate(z=height)
        parts = [rail, *(spindle.translate(x=x) for x in np.linspace(-0.4, 0.4, randint(rng, 4, 9)) * width)]
    elif kind == "hoop":
        angles = np.linspace(0, np.pi, 19)
        path = np.stack([width * 0.45 * np.cos(angles), 0 * angles, height * np.sin(angles)], axis=1)
        parts = [
            sweep(path, sample_bar_section(rng.next_part(), 0.08)),
            slab(width * 0.3, 0.04, height * 0.9, radius=0.02),
        ]
    else:
        parts = [slab(width * 0.95, 0.1, height, radius=0.05, **sample_rim(rng, 0.03))]
        parts += [
            slab(width * 0.9, 0.03, 0.04, radius=0.01).translate(y=-0.05, z=z)
            for z in np.linspace(0.25, 0.75, randint(rng, 1, 3)) * height
        ]
    return [part.rotate("x", lean).translate(y=depth * 0.42) for part in parts]
