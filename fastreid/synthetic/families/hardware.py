"""Families of things held and turned: tools and wheels."""

import numpy as np

from fastreid.synthetic.families.details import (
    Rng,
    chance,
    count,
    edge,
    grip_section,
    knob,
    pick,
    rims,
    section,
)
from fastreid.synthetic.geometry.mesh import Mesh, around, box, extrude, named, ring, slab, turn
from fastreid.synthetic.geometry.outlines import (
    circle,
    curve,
    ellipse,
    filleted,
    lobed,
    polygon,
    rounded_rectangle,
    star,
    toothed,
)
from fastreid.synthetic.geometry.sweep import sweep


def tool(rng: Rng) -> list[Mesh]:
    """A grip, a shank and a working end, standing upright or lying along x."""
    parts, top = _grip(rng.part())
    shank = rng.uniform(0.1, 0.9)
    bar = pick(rng, circle(0.07, num_sides=16), rounded_rectangle(0.16, 0.08, radius=0.02), polygon(6, radius=0.09))
    parts.append(turn([(1.0, top - 0.1), (1.0, top + shank)], bar))
    parts += named("head", [part.moved(z=top + shank) for part in _working_end(rng.part())])
    if chance(rng, 0.5):
        parts = [part.turned("y", 90) for part in parts]
    return parts


def _grip(rng: Rng) -> tuple[list[Mesh], float]:
    """A handle from z = 0 up, and its height."""
    length, thick = rng.uniform(0.9, 2.0), rng.uniform(0.14, 0.26)
    kind = pick(rng, "turned", "turned", "flat", "loop", "pistol")
    if kind == "turned":
        num = count(rng, 3, 6)
        radii = thick * rng.uniform(0.65, 1.15, num)
        side = curve(np.stack([radii, np.linspace(0.05, length, num)], axis=1))
        outline = section(rng.part())
        whole = [(0, 0), (radii[0] * 0.7, 0), *side, (thick * 0.6, length + 0.05), (0, length + 0.05)]
        parts = [turn(filleted(whole, edge(rng, 0.5 * thick)), outline)]
        parts += [
            ring(thick * 0.7, thick * rng.uniform(0.25, 0.5), rng.uniform(0.03, 0.1), z=z, outline=outline)
            for z in rng.uniform(0.1, length, count(rng, 0, 4))
        ]
        return parts, length
    if kind == "flat":
        width = thick * 2
        holes = (
            [ellipse(width * 0.45, width * rng.uniform(0.45, 1.2)) + [0, -length * 0.36]] if chance(rng, 0.7) else []
        )
        if chance(rng, 0.5):
            holes += [
                circle(width * 0.12, num_sides=16) + [0, y] for y in np.linspace(-0.05, 0.35, count(rng, 2, 3)) * length
            ]
        plate = extrude(
            rounded_rectangle(width, length, radius=width * rng.uniform(0.1, 0.5)), thick * 0.7, holes=holes
        )
        return [plate.turned("x", 90).moved(y=thick * 0.35, z=length / 2)], length
    if kind == "loop":
        wide = rng.uniform(0.35, 0.6)
        path = rounded_rectangle(2 * wide, length * 0.6, radius=wide * rng.uniform(0.3, 0.95))
        path = np.stack([path[:, 0], 0 * path[:, 0], path[:, 1] + length * 0.3], axis=1)
        return [sweep(path, grip_section(rng.part(), thick), closed=True)], length * 0.62
    path = curve([(-0.5, 0, -length * 0.5), (-0.25, 0, -0.2), (-0.05, 0, 0.2), (0, 0, 0.5)])
    barrel = turn([(0.2, 0.2), (0.24, 0.3), (0.24, 0.8), (0.16, 0.95)], section(rng.part()))
    return [sweep(path, rounded_rectangle(0.22, 0.3, radius=0.08)), barrel], 0.9


def _working_end(rng: Rng) -> list[Mesh]:
    """What a tool works with, from z = 0 up."""
    kind = pick(rng, "hammer", "blade", "wrench", "brush", "fork", "roller", "whisk", "scoop")
    wide, tall = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.9)
    if kind == "hammer":
        side = [
            (0, -wide),
            (0.16, -wide),
            (0.2, -wide + 0.05),
            (0.2, -wide * 0.5),
            (0.12, -wide * 0.4),
            (0.12, wide * 0.4),
            (pick(rng, 0.02, 0.2, 0.26), wide),
            (0, wide),
        ]
        head = turn(filleted(side, edge(rng, 0.1)), pick(rng, circle(), polygon(4), polygon(8)))
        return [head.turned("y", 90).moved(z=0.12)]
    if kind == "brush":
        stock = slab(2 * wide, 0.3, 0.16, radius=0.05, **rims(rng, 0.03))
        bristle = turn([(0.05, 0.1), (rng.uniform(0.02, 0.05), 0.1 + tall)], circle(num_sides=12))
        return [
            stock,
            *(bristle.moved(x=x, y=y) for x in np.linspace(-0.8, 0.8, count(rng, 4, 8)) * wide for y in (-0.07, 0.07)),
        ]
    if kind == "fork":
        num = count(rng, 2, 5)
        tine = sweep(curve([(0, 0, 0), (0, -0.08, tall * 0.5), (0, 0.1, tall)]), ellipse(0.08, 0.06, num_sides=12))
        bar = slab(2 * wide, 0.1, 0.12, radius=0.04)
        return [bar, *(tine.moved(x=x, z=0.06) for x in np.linspace(-0.88, 0.88, num) * wide)]
    if kind == "roller":
        drum = turn([(0.2, -wide), (0.2, wide)], pick(rng, circle(), toothed(10, depth=0.3), lobed(8, depth=0.2)))
        return [drum.turned("y", 90).moved(z=0.25), box(0.1, 0.1, 0.3)]
    if kind == "whisk":
        turns = np.arange(24) * (2 * np.pi / 24)
        path = np.stack([wide * np.sin(turns), 0 * turns, (0.6 + tall) * (1 - np.cos(turns))], axis=1)
        wire = sweep(path, circle(0.03, num_sides=12), closed=True)
        return around(wire, count(rng, 2, 4), start=20.0)
    if kind == "scoop":
        bowl = turn(
            [(0, 0), *curve([(0.15, 0.02), (wide * 0.7, 0.3), (wide * 0.8, 0.6)]), (wide * 0.76, 0.6), (0.0, 0.06)]
        )
        return [bowl.scaled(1, rng.uniform(0.5, 1), 1).turned("x", rng.uniform(0, 80))]
    return [_plate_end(rng.part(), kind, wide, tall)]


def _plate_end(rng: Rng, kind: str, wide: float, tall: float) -> Mesh:
    """A blade with slots, or an open or ring wrench, cut from a plate that stands upright."""
    if kind == "blade":
        flare = rng.uniform(0.5, 1.2)
        outline = np.array(
            [
                (-0.12, 0),
                (0.12, 0),
                (wide * flare, tall * 0.4),
                (wide, tall * 1.6),
                (-wide * rng.uniform(0.2, 1), tall * 1.6),
                (-wide * flare, tall * 0.4),
            ]
        )
        slots = [
            rounded_rectangle(0.06, tall * 0.7, radius=0.03) + [x, tall]
            for x in np.linspace(-0.2, 0.2, count(rng, 1, 3)) * wide
        ]
        flat = filleted(outline, edge(rng, 0.4 * wide), closed=True)
        plate = extrude(flat, rng.uniform(0.03, 0.08), holes=slots if chance(rng, 0.6) else [])
    elif chance(rng, 0.5):
        hole = pick(rng, polygon(6), toothed(12, depth=0.2), polygon(4), circle()) * wide * 0.55
        plate = extrude(circle(wide * 0.85) + [0, wide * 0.7], 0.16, holes=[hole + [0, wide * 0.7]])
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
        plate = extrude(filleted(jaw * wide, edge(rng, 0.2 * wide), closed=True), 0.16)
    return plate.turned("x", 90).moved(y=0.06, z=-0.05)


def wheel(rng: Rng) -> list[Mesh]:
    """A rim, spokes or a disc, and a hub; the axle points to the viewer."""
    wide, half = 1.0, rng.uniform(0.1, 0.45)
    bead, floor = rng.uniform(0.72, 0.92), rng.uniform(0.6, 0.7)
    side = [(floor, -0.9), (bead, -1.0), (wide, -0.8), (wide, 0.8), (bead, 1.0), (floor, 0.9)]
    if chance(rng, 0.4):
        side = [(floor, -1), (0.95, -1), (0.95, -0.8), (0.8, -0.7), (0.8, 0.7), (0.95, 0.8), (0.95, 1), (floor, 1)]
    parts = [turn(np.array(side) * [1.0, half], closed=True)]
    if chance(rng, 0.6):
        tread = pick(
            rng,
            toothed(count(rng, 18, 40), depth=0.05),
            toothed(count(rng, 8, 16), depth=0.14),
            lobed(count(rng, 6, 12), depth=0.1),
        )
        tyre = ring(0.9, rng.uniform(0.13, 0.2), half * rng.uniform(0.8, 1.4), outline=tread)
        parts += named("tyre", [tyre])
    hub, sunk = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.6)
    parts.append(
        turn(
            [(hub, -half * rng.uniform(0.5, 1.2)), (hub, half * sunk), (hub * 0.8, half * sunk + 0.08)],
            pick(rng, circle(), polygon(6), lobed(5, depth=0.15)),
        )
    )
    parts += named("spokes", _spokes(rng.part(), hub, floor + 0.05, half))
    bolts = count(rng, 0, 6)
    if bolts > 2:
        bolt = turn([(0.04, 0.0), (0.04, half * sunk + 0.13)], polygon(6)).moved(x=hub * 0.6)
        parts += around(bolt, bolts)
    else:
        parts.append(knob(rng.part(), hub * 0.4).moved(z=half * sunk + 0.08))
    if chance(rng, 0.25):
        parts.append(knob(rng.part(), 0.12).moved(x=0.86, z=half * 0.9))
    return [part.turned("x", 90) for part in parts]


def _spokes(rng: Rng, hub: float, rim: float, half: float) -> list[Mesh]:
    kind = pick(rng, "bars", "bars", "disc", "blades", "wires", "forked")
    num, thick = count(rng, 3, 9), rng.uniform(0.06, 0.14)
    z = rng.uniform(-0.3, 0.5) * half
    if kind == "disc":
        reach = (hub + rim) / 2
        size = min(reach * np.sin(np.pi / num) * 0.75, (rim - hub) * 0.38)
        hole = pick(rng, circle(num_sides=24), polygon(4), polygon(3), star(5, depth=0.4)) * size
        turns = np.arange(num) * 2 * np.pi / num
        holes = [hole + [reach * np.cos(t), reach * np.sin(t)] for t in turns]
        return [extrude(circle(rim + 0.02), thick, holes=holes).moved(z=z)]
    if kind == "bars":
        bend = rng.uniform(-0.4, 0.4) * pick(rng, 0, 1)
        path = curve([(hub * 0.7, 0, z), ((hub + rim) / 2, bend * 0.5, z + rng.uniform(-0.1, 0.1)), (rim, bend, z)])
        spoke = sweep(path, grip_section(rng.part(), thick), scale=np.linspace(rng.uniform(0.8, 1.8), 1.0, len(path)))
        return around(spoke, num, start=90)
    if kind == "blades":
        blade = (
            box(rim - hub * 0.6, 0.03, half * 1.2)
            .turned("x", rng.uniform(20, 60))
            .moved(x=(rim + hub * 0.6) / 2, z=-half * 0.3)
        )
        return around(blade, num, start=90)
    if kind == "wires":
        wire = sweep([(hub * 0.8, 0.1, z - 0.1), (rim, -0.1, z)], circle(0.02, num_sides=12))
        other = sweep([(hub * 0.8, -0.1, z + 0.1), (rim, 0.1, z)], circle(0.02, num_sides=12))
        return [*around(wire, num + 3), *around(other, num + 3)]
    low = sweep(
        [(hub * 0.7, 0, z), (rim * 0.6, 0.02, z), (rim, rng.uniform(0.1, 0.25), z)],
        grip_section(rng.part(), thick * 0.8),
    )
    return [*around(low, num, start=90), *around(low.scaled(1, -1, 1), num, start=90)]
