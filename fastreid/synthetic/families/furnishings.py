"""Families of things that stand in a room or on a desk: furniture, devices and cases."""

import numpy as np

from fastreid.synthetic.families.details import (
    Rng,
    bow,
    chance,
    count,
    feet,
    grip_section,
    hole_rows,
    knob,
    mark,
    on_front,
    pick,
    rims,
    section,
)
from fastreid.synthetic.geometry.mesh import Mesh, around, box, extrude, named, ring, slab, torus, turn
from fastreid.synthetic.geometry.outlines import circle, curve, ellipse, polygon, rounded_rectangle, toothed
from fastreid.synthetic.geometry.sweep import sweep


def furniture(rng: Rng) -> list[Mesh]:
    """A table, stool, chair or shelf: a top on legs, with a back, arms, drawers or stretchers."""
    wide, deep, height = rng.uniform(0.6, 1.5), rng.uniform(0.5, 0.9), rng.uniform(0.3, 1.1)
    parts = [_top(rng.part(), wide, deep).moved(z=height), *named("legs", _legs(rng.part(), wide, deep, height))]
    role = pick(rng, "table", "chair", "chair", "drawers", "shelf")
    if role == "chair":
        parts += named("back", [part.moved(z=height) for part in _back(rng.part(), wide, deep)])
        if chance(rng, 0.5):
            arm = bow(rng.part(), -deep * 0.35, deep * 0.3, reach=rng.uniform(0.25, 0.45), thickness=0.08)
            arm = arm.turned("x", -90).turned("y", -90).moved(z=height + 0.03)
            parts += named("arms", [arm.moved(x=-wide * 0.45), arm.moved(x=wide * 0.45)])
    elif role == "drawers":
        num = count(rng, 1, 4)
        tall = min(height * 0.9, 0.22 * num)
        parts.append(box(wide * 0.86, deep * 0.8, tall).moved(z=height - tall + 0.005))
        pull = knob(rng.part(), 0.04).turned("x", 90)
        for row in range(num):
            z = height - tall + tall / num * (row + 0.12)
            front = slab(wide * 0.8, 0.06, tall / num * 0.76, radius=0.02).moved(y=-deep * 0.4, z=z)
            tray = box(wide * 0.74, deep * 0.7, tall / num * 0.6).moved(y=-deep * 0.02, z=z)
            drawer = [front, tray, pull.moved(y=-deep * 0.4 - 0.03, z=z + tall / num * 0.38)]
            parts += named("drawer" if row == num - 1 else "drawers", drawer)
    elif role == "shelf":
        levels = np.linspace(0.15, 0.8, count(rng, 1, 3)) * height
        parts += [slab(wide * 0.88, deep * 0.85, 0.05, radius=0.02).moved(z=z) for z in levels]
    else:
        parts.append(ring(min(wide, deep) * 0.2, 0.04, 0.08, z=height - 0.04, outline=section(rng.part())))
    if chance(rng, 0.3):
        parts.append(on_front(mark(rng.part(), 0.1, 0.2), -deep * 0.5 + 0.1, height + 0.0))
    return parts


def _top(rng: Rng, wide: float, deep: float) -> Mesh:
    thick = rng.uniform(0.04, 0.14)
    kind = pick(rng, "slab", "slab", "oval", "holed", "cushion", "polygon")
    if kind == "slab":
        return slab(wide, deep, thick, radius=rng.uniform(0.01, 0.25), **rims(rng, thick * 0.3))
    if kind == "oval":
        return extrude(ellipse(wide, deep), thick)
    if kind == "holed":
        holes = hole_rows(rng.part(), wide * 0.7, deep * 0.7)
        return extrude(rounded_rectangle(wide, deep, radius=0.1), thick, holes=holes)
    if kind == "cushion":
        return slab(wide, deep, thick * 2, radius=0.15, fillet=thick * rng.uniform(0.5, 1.0))
    return extrude(polygon(count(rng, 5, 8)) * [wide * 0.55, deep * 0.55], thick)


def _legs(rng: Rng, wide: float, deep: float, height: float) -> list[Mesh]:
    kind = pick(rng, "straight", "splayed", "turned", "pedestal", "panels", "sled")
    thick = rng.uniform(0.05, 0.12)
    x, y = wide * 0.4, deep * 0.4
    corners = [(x, y), (-x, y), (-x, -y), (x, -y)]
    if kind == "pedestal":
        column = turn(curve([(0.18, 0.05), (rng.uniform(0.04, 0.15), height * 0.4), (rng.uniform(0.05, 0.2), height)]))
        foot = sweep(curve([(0, 0, 0.12), (x * 0.7, 0, 0.08), (x * 1.2, 0, 0.0)]), grip_section(rng.part(), thick))
        plate = turn([(x, 0), (x, 0.05), (0.15, 0.1)], section(rng.part()))
        return [column, *(around(foot, count(rng, 3, 6), start=45) if chance(rng, 0.5) else [plate])]
    if kind == "panels":
        cut = [ellipse(deep * 0.5, height * rng.uniform(0.3, 0.6)) + [0, height / 2]] if chance(rng, 0.5) else []
        outline = np.array(
            [(-deep * 0.45, 0), (deep * 0.45, 0), (deep * 0.45, height + 0.01), (-deep * 0.45, height + 0.01)]
        )
        panel = extrude(outline, thick * 0.7, holes=cut).turned("x", 90).turned("z", 90)
        return [panel.moved(x=-x), panel.moved(x=x)]
    if kind == "sled":
        path = [(0, -y, height), (0, -y * 1.1, 0), (0, y * 1.1, 0), (0, y, height)]
        runner = sweep(path, grip_section(rng.part(), thick))
        return [runner.moved(x=-x), runner.moved(x=x)]
    if kind == "turned":
        radii = rng.uniform(0.3, 0.9, count(rng, 4, 6)) * thick
        leg = turn(curve(np.stack([radii, np.linspace(0, height, len(radii))], axis=1)), circle(num_sides=24))
        return [leg.moved(x=a, y=b) for a, b in corners]
    spread = 1.0 if kind == "straight" else rng.uniform(1.15, 1.5)
    bar, taper = grip_section(rng.part(), thick), [rng.uniform(0.5, 1.0), 1.0]
    legs = [sweep([(a * spread, b * spread, 0), (a, b, height + 0.01)], bar, scale=taper) for a, b in corners]
    if chance(rng, 0.5):
        z = height * rng.uniform(0.2, 0.5)
        across = sweep([(-x * 1.05, 0, z), (x * 1.05, 0, z)], circle(thick * 0.3, num_sides=12))
        legs += [across.moved(y=-y), across.moved(y=y)]
    return legs


def _back(rng: Rng, wide: float, deep: float) -> list[Mesh]:
    """A back-rest that rises from z = 0 at the back edge of a seat."""
    tall, lean = rng.uniform(0.5, 1.1), rng.uniform(-14, -3)
    kind = pick(rng, "panel", "slats", "spindles", "hoop", "shell")
    post = sweep([(0, 0, 0), (0, 0, tall)], grip_section(rng.part(), 0.07))
    posts = [post.moved(x=-wide * 0.42), post.moved(x=wide * 0.42)]
    if kind == "panel":
        holes = hole_rows(rng.part(), wide * 0.6, tall * 0.4) if chance(rng, 0.6) else []
        plate = extrude(rounded_rectangle(wide * 0.9, tall * 0.6, radius=rng.uniform(0.02, 0.2)), 0.06, holes=holes)
        parts = [plate.turned("x", 90).moved(y=0.03, z=tall * 0.65), *posts]
    elif kind == "slats":
        slat = slab(wide * 0.86, 0.04, tall * 0.12, radius=0.01)
        parts = [*posts, *(slat.moved(z=z) for z in np.linspace(0.2, 0.85, count(rng, 2, 5)) * tall)]
    elif kind == "spindles":
        spindle = turn([(0.02, 0), (0.035, tall * 0.5), (0.02, tall)], circle(num_sides=12))
        rail = slab(wide * 0.95, 0.08, 0.1, radius=0.03).moved(z=tall)
        parts = [rail, *(spindle.moved(x=x) for x in np.linspace(-0.4, 0.4, count(rng, 4, 9)) * wide)]
    elif kind == "hoop":
        turns = np.linspace(0, np.pi, 19)
        path = np.stack([wide * 0.45 * np.cos(turns), 0 * turns, tall * np.sin(turns)], axis=1)
        parts = [sweep(path, grip_section(rng.part(), 0.08)), slab(wide * 0.3, 0.04, tall * 0.9, radius=0.02)]
    else:
        parts = [slab(wide * 0.95, 0.1, tall, radius=0.05, **rims(rng, 0.03))]
        parts += [
            slab(wide * 0.9, 0.03, 0.04, radius=0.01).moved(y=-0.05, z=z)
            for z in np.linspace(0.25, 0.75, count(rng, 1, 3)) * tall
        ]
    return [part.turned("x", lean).moved(y=deep * 0.42) for part in parts]


def device(rng: Rng) -> list[Mesh]:
    """A housing with a screen, buttons, a grille, a dial or a lens; it stands or lies on its back."""
    wide, tall, thick = rng.uniform(0.5, 1.4), rng.uniform(0.6, 1.6), rng.uniform(0.1, 0.5)
    body = slab(wide, tall, thick, radius=rng.uniform(0.02, 0.4) * wide, **rims(rng, rng.uniform(0.05, 0.2) * thick))
    parts = [body]
    split = rng.uniform(-0.1, 0.15) * tall
    upper, lower = tall * 0.44 - split, tall * 0.44 + split
    for middle, room in ((split + upper / 2, upper), (split - lower / 2, lower)):
        panel = [part.moved(y=middle, z=thick) for part in _panel(rng.part(), wide * 0.8, room * 0.86)]
        parts += named("upper" if middle > split else "lower", panel)
    for side in (-1, 1):
        if chance(rng, 0.5):
            key = slab(0.1, 0.12 * rng.uniform(0.6, 2.5), thick * 0.4, radius=0.03, **rims(rng, 0.015)).moved(
                x=side * wide * 0.5, z=thick * 0.3
            )
            parts += [key.moved(y=y * tall) for y in rng.uniform(-0.2, 0.2, count(rng, 1, 2))]
    extra = pick(rng, "antenna", "stand", "lug", "cord", "none")
    if extra == "antenna":
        rod = turn([(0.06, 0), (0.06, 0.15), (0.04, 0.2), (0.03, rng.uniform(0.3, 0.8))], circle(num_sides=16))
        parts.append(rod.turned("x", -90).moved(x=wide * 0.35 * pick(rng, -1, 1), y=tall * 0.45, z=thick / 2))
    elif extra == "stand":
        parts.append(slab(wide * rng.uniform(0.4, 1.1), 0.12, thick * 3, radius=0.05).moved(y=-tall * 0.5, z=-thick))
    elif extra == "lug":
        parts.append(torus(0.14, 0.05).moved(y=tall * 0.5 + 0.06, z=thick / 2))
    elif extra == "cord":
        path = curve(
            [
                (0, -tall * 0.45, thick / 2),
                (0, -tall * 0.6, thick / 2),
                (0.3, -tall * 0.8, thick / 2),
                (0.1, -tall * 1.0, thick / 2),
            ]
        )
        parts.append(sweep(path, circle(0.04, num_sides=12)))
    if chance(rng, 0.5):
        parts.append(mark(rng.part(), rng.uniform(0.1, 0.25), 0.06).moved(y=tall * rng.uniform(-0.2, 0.2), z=-0.04))
    return [part.turned("x", 90) for part in parts] if chance(rng, 0.6) else parts


def _panel(rng: Rng, wide: float, room: float) -> list[Mesh]:
    """What fills a field of that size on a housing; the housing's face is z = 0."""
    kind = pick(rng, "screen", "keys", "keys", "grille", "dial", "lens", "pad")
    small = min(wide, room)
    if kind == "screen":
        glass = rounded_rectangle(wide * 0.86, room * 0.86, radius=small * rng.uniform(0.01, 0.1))
        bezel = extrude(rounded_rectangle(wide, room, radius=small * 0.08), 0.05, holes=[glass])
        return [bezel.moved(z=-0.02)]
    if kind == "grille":
        holes = hole_rows(rng.part(), wide * 0.9, room * 0.9)
        return [extrude(rounded_rectangle(wide, room, radius=small * 0.1), 0.06, holes=holes).moved(z=-0.02)]
    if kind == "keys":
        columns, rows = count(rng, 2, 4), count(rng, 2, 5)
        across, along = np.array([wide / columns, room / rows]) * rng.uniform(0.5, 0.8)
        soft = slab(across, along, 0.06, radius=rng.uniform(0.05, 0.45) * min(across, along), **rims(rng, 0.015))
        key = pick(rng, soft, extrude(ellipse(across, along, num_sides=24), 0.06)).moved(z=-0.02)
        return [
            key.moved(x=(c - (columns - 1) / 2) * wide / columns, y=(r - (rows - 1) / 2) * room / rows)
            for c in range(columns)
            for r in range(rows)
        ]
    if kind == "pad":
        arms = small * 0.4
        cross = np.array(
            [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]
        )
        return [extrude(cross * arms / 3, 0.08).moved(z=-0.02), extrude(circle(arms * 1.2), 0.04).moved(z=-0.02)]
    x = rng.uniform(-0.3, 0.3) * (wide - small)
    radius = small * rng.uniform(0.25, 0.48)
    if kind == "dial":
        outline = pick(rng, circle(), toothed(count(rng, 16, 30), depth=0.08), polygon(8))
        high = rng.uniform(0.06, 0.25)
        pointer = box(0.04, radius * 0.6, high + 0.03).moved(x=x, y=radius * 0.35)
        return [turn([(radius, -0.02), (radius * 0.9, high)], outline).moved(x=x), pointer]
    barrel = [(radius, -0.02), (radius, 0.2), (radius * 0.8, 0.2), (radius * 0.7, 0.06), (0, 0.1)]
    return [turn(barrel).moved(x=x), ring(radius, 0.04, 0.05, z=rng.uniform(0.02, 0.12)).moved(x=x)]


def case(rng: Rng) -> list[Mesh]:
    """A box with a lid, ribs, a latch, a handle and perhaps wheels: luggage, a tool box, a package."""
    wide, deep, tall = rng.uniform(0.7, 1.5), rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.5)
    radius, rim = rng.uniform(0.01, 0.25), rims(rng, 0.05)
    lid = rng.uniform(0.12, 0.4) * tall
    parts = [slab(wide, deep, tall - lid, radius=radius, **rim)]
    grow = rng.uniform(1.0, 1.08)
    cover = slab(wide * grow, deep * grow, lid, radius=radius, **rim)
    parts += named("lid", [cover.moved(z=tall - lid + rng.uniform(0.0, 0.03))])
    num = count(rng, 0, 6)
    rib = slab(0.06, deep * 1.07, (tall - lid) * 0.8, radius=0.02)
    if chance(rng, 0.4):
        rib = slab(wide * 1.05, deep * 1.07, 0.05, radius=radius)
        parts += [rib.moved(z=z) for z in np.linspace(0.12, 0.85, num) * (tall - lid)]
    else:
        parts += [rib.moved(x=x, z=0.08 * tall) for x in np.linspace(-0.4, 0.4, num) * wide]
    latch = slab(0.14, 0.08, rng.uniform(0.12, 0.3), radius=0.02)
    xs = pick(rng, (0.0,), (-0.28, 0.28), (-0.35, 0.0, 0.35))
    parts += [latch.moved(x=x * wide, y=-deep * 0.54, z=tall - lid - 0.08) for x in xs]
    parts += named("handle", _carry(rng.part(), wide, deep, tall))
    if chance(rng, 0.3):
        parts += [part.scaled(wide * 0.55, deep * 0.55, 1) for part in feet(rng.part(), 1.0, 0.12)]
    elif chance(rng, 0.4):
        roll = turn([(0.12, -0.05), (0.12, 0.05)]).turned("y", 90)
        parts += [roll.moved(x=x * wide, y=deep * 0.42, z=0.0) for x in (-0.4, 0.4)]
    if chance(rng, 0.6):
        parts.append(
            on_front(
                mark(rng.part(), rng.uniform(0.1, 0.2), 0.2), -deep * 0.5 + 0.1, (tall - lid) * rng.uniform(0.35, 0.65)
            )
        )
    return parts


def _carry(rng: Rng, wide: float, deep: float, tall: float) -> list[Mesh]:
    """Handles of a case."""
    kind = pick(rng, "top", "sides", "pole", "knob", "strap")
    thick = rng.uniform(0.05, 0.1)
    if kind == "top":
        handle = bow(rng.part(), -wide * 0.25, wide * 0.25, reach=rng.uniform(0.15, 0.35), thickness=thick)
        return [handle.turned("y", -90).moved(z=tall - 0.02)]
    if kind == "sides":
        handle = bow(rng.part(), tall * 0.35, tall * 0.7, reach=0.2, thickness=thick).moved(x=wide * 0.5)
        return around(handle, 2)
    if kind == "pole":
        high = rng.uniform(0.4, 1.0)
        pole = [
            (-wide * 0.25, 0, tall * 0.5),
            (-wide * 0.25, 0, tall + high),
            (wide * 0.25, 0, tall + high),
            (wide * 0.25, 0, tall * 0.5),
        ]
        return [sweep(pole, grip_section(rng.part(), thick)).moved(y=deep * 0.5 + 0.02)]
    if kind == "knob":
        return [knob(rng.part(), rng.uniform(0.08, 0.16)).moved(z=tall)]
    turns = np.linspace(0, np.pi, 17)
    path = np.stack(
        [wide * 0.52 * np.cos(turns), 0 * turns, tall * 0.7 + rng.uniform(0.5, 1.0) * tall * np.sin(turns)], axis=1
    )
    return [sweep(path, rounded_rectangle(0.05, 0.2, radius=0.02))]
