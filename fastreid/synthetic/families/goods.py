"""Families of packages, plugs, fans, screens, toys and panels."""

from itertools import pairwise

import numpy as np

from fastreid.synthetic.families.details import (
    Rng,
    bow,
    chance,
    count,
    edge,
    grip_section,
    hole_rows,
    knob,
    mark,
    on_front,
    pick,
    rims,
    section,
)
from fastreid.synthetic.geometry.mesh import Mesh, around, box, extrude, loft, named, ring, slab, torus, turn
from fastreid.synthetic.geometry.outlines import (
    circle,
    curve,
    ellipse,
    filleted,
    polygon,
    rounded_rectangle,
    squircle,
    toothed,
)
from fastreid.synthetic.geometry.sweep import sweep, thread


def package(rng: Rng) -> list[Mesh]:
    """A carton, a pouch, a tube or a jar."""
    kind = pick(rng, "carton", "pouch", "tube", "jar")
    wide, deep, tall = rng.uniform(0.6, 1.2), rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.6)
    if kind == "carton":
        parts = [box(wide, deep, tall)]
        parts += named(
            "lid", [slab(wide * 1.02, deep * 1.02, rng.uniform(0.05, 0.3) * tall, radius=0.01).moved(z=tall)]
        )
        window = rng.part()
        if chance(window, 0.6):
            shape = pick(
                window, rounded_rectangle(wide * 0.6, tall * 0.4, radius=0.08), ellipse(wide * 0.6, tall * 0.4)
            )
            frame = extrude(shape * 1.12, 0.04, holes=[shape])
            parts += named("window", [on_front(frame, -deep * 0.5 + 0.02, tall * window.uniform(0.35, 0.6))])
    elif kind == "jar":
        outline = section(rng.part())
        side = curve([(wide * 0.45, 0), (wide * rng.uniform(0.45, 0.6), tall * 0.3), (wide * 0.4, tall * 0.6)])
        parts = [turn(side, outline)]
        cap = rng.part()
        lid = [(wide * 0.42, 0), (wide * 0.42, tall * 0.2), (wide * 0.38, tall * 0.23), (0, tall * 0.23)]
        cover = turn(
            filleted(lid, edge(cap, 0.06)),
            pick(cap, circle(), toothed(count(cap, 20, 36), depth=0.05)),
        )
        neck = turn([(wide * 0.36, tall * 0.58), (wide * 0.36, tall * 0.78)])
        parts += [neck, thread(wide * 0.36, wide * 0.025, tall * 0.035, tall * 0.1).moved(z=tall * 0.67)]
        parts += named("cap", [cover.moved(z=tall * cap.uniform(0.6, 0.66))])
    else:
        num = 24
        turns = np.arange(num) * (2 * np.pi / num)
        low = pick(rng, 1.0, 0.8) * deep / 2
        rings = []
        for share in np.linspace(0, 1, 8):
            thin = (low * (1 - share) + 0.02 * share) if kind == "tube" else low * np.sin(np.pi * (0.15 + 0.8 * share))
            across = deep / 2 * (1 - share) + wide / 2 * share if kind == "tube" else wide / 2
            rings.append(np.stack([across * np.cos(turns), thin * np.sin(turns), np.full(num, share * tall)], axis=1))
        parts = [loft(np.stack(rings)), slab(wide * 1.01, 0.05, tall * 0.1).moved(z=tall * 0.97)]
        end = rng.part()
        if kind == "tube":
            cap_side = [(deep * 0.42, -tall * end.uniform(0.15, 0.3)), (deep * 0.42, 0.0), (deep * 0.3, 0.02)]
            parts += named("cap", [turn(cap_side, pick(end, circle(), polygon(8), toothed(24, depth=0.05)))])
        elif chance(end, 0.6):
            spout = turn([(0.1, -0.1), (0.1, 0.15), (0.14, 0.16), (0.14, 0.3)], pick(end, circle(), polygon(8)))
            parts += named("cap", [spout.moved(x=wide * end.uniform(-0.3, 0.3), z=tall * 1.05)])
    badge = mark(rng.part(), rng.uniform(0.12, 0.25), 0.3)
    return [*parts, *named("mark", [on_front(badge, -deep * 0.5 + 0.27, tall * rng.uniform(0.2, 0.4))])]


def tray(rng: Rng) -> list[Mesh]:
    """A flat dish with compartments, a rim and a lid."""
    wide, deep, tall = rng.uniform(1.0, 1.8), rng.uniform(0.8, 1.2), rng.uniform(0.15, 0.5)
    radius = rng.uniform(0.05, 0.3)
    outline = rounded_rectangle(wide, deep, radius=radius)
    if chance(rng, 0.25):
        outline = squircle(power=rng.uniform(2, 4)) * [wide / 2, deep / 2]
    cells = rng.part()
    columns, rows = count(cells, 1, 4), count(cells, 1, 3)
    if columns == rows == 1:
        columns = 2
    across, along = wide * 0.86 / columns, deep * 0.84 / rows
    if chance(cells, 0.3):
        small = min(across, along) * 0.44
        cell = pick(cells, circle(small), polygon(6, radius=small), squircle(power=3) * small)
    else:
        cell = rounded_rectangle(across * 0.88, along * 0.86, radius=cells.uniform(0.02, 0.15))
    holes = [
        cell + [(c - (columns - 1) / 2) * across, (r - (rows - 1) / 2) * along]
        for c in range(columns)
        for r in range(rows)
    ]
    parts = [extrude(outline * 0.98, tall, holes=holes).moved(z=0.03), extrude(outline * 0.97, 0.04)]
    rim = rng.part()
    parts += named("rim", [extrude(outline * rim.uniform(1.03, 1.1), 0.05, holes=[outline * 0.96]).moved(z=tall)])
    if chance(rim, 0.4):
        grip = bow(rim.part(), -deep * 0.2, deep * 0.2, reach=0.2, thickness=0.06).turned("x", -90).moved(z=tall)
        parts += named("handle", around(grip.moved(x=wide * 0.52), 2))
    lid = rng.part()
    if chance(lid, 0.6):
        cover = [extrude(outline * 1.04, 0.05), extrude(outline * lid.uniform(0.6, 0.9), lid.uniform(0.08, 0.15))]
        if chance(lid, 0.6):
            cover.append(mark(lid.part(), min(wide, deep) * 0.2, 0.2))
        parts += named("lid", [part.moved(z=tall + 0.06) for part in cover])
    return parts


def plug(rng: Rng) -> list[Mesh]:
    """A housing with pins or a socket at its front, a collar, ribs and a cord."""
    outline = section(rng.part())
    length = rng.uniform(0.6, 1.4)
    knots = [(rng.uniform(0.3, 0.5), z) for z in np.linspace(0, length, count(rng, 3, 5))]
    parts = [turn([*curve(knots), (0.16, length + 0.08)], outline)]
    pins = rng.part()
    reach = pins.uniform(0.2, 0.5)
    pin = pick(
        pins,
        turn([(0.05, -reach), (0.06, 0.02)]),
        slab(0.05, 0.16, reach).moved(z=-reach),
        slab(0.16, 0.05, reach).moved(z=-reach),
    )
    parts += named("pins", around(pin.moved(x=0.17), count(pins, 2, 4), start=90))
    if chance(pins, 0.4):
        parts += named(
            "pins", [turn([(0.3, -reach * 0.8), (0.3, 0.02), (0.26, 0.02), (0.26, -reach * 0.8)], outline, closed=True)]
        )
    collar = rng.part()
    parts += named("collar", [
        ring(0.36, collar.uniform(0.05, 0.2), 0.07, z=z * length, outline=pick(collar, circle(), toothed(20, depth=0.1), polygon(6)))
        for z in np.linspace(0.2, 0.8, count(collar, 1, 4))
    ])  # fmt: skip
    if chance(rng, 0.5):
        parts += named("key", [slab(0.16, 0.3, length * 0.5, radius=0.04).moved(y=-0.4, z=length * 0.2)])
    cord = rng.part()
    bend = cord.uniform(-0.8, 0.8)
    path = curve([(0, 0, length), (0, 0, length + 0.4), (bend * 0.6, 0, length + 0.8), (bend, 0, length + 1.2)])
    parts += named("cord", [sweep(path, circle(0.09, num_sides=16)), *(
        torus(0.1, 0.05).moved(z=length + 0.1 + 0.09 * i) for i in range(count(cord, 0, 4))
    )])  # fmt: skip
    return [part.turned("y", 90) for part in parts] if chance(rng, 0.5) else parts


def fan(rng: Rng) -> list[Mesh]:
    """Blades in a round guard on a stand."""
    cage, hub = rng.part(), rng.uniform(0.14, 0.3)
    parts = []
    for z in (-0.2, 0.2):
        parts += named("guard", [torus(1.0, 0.06, z=z), torus(cage.uniform(0.5, 0.75), 0.03, z=z * 1.4)])
    wire = sweep(curve([(hub * 0.7, 0, 0.32), (0.6, 0, 0.3), (1.0, 0, 0.2)]), circle(0.015, num_sides=8))
    wires = around(wire, count(cage, 10, 28))
    parts += named("guard", [*wires, turn([(hub, 0.28), (hub, 0.36), (hub * 0.8, 0.38)])])
    blades = rng.part()
    blade = sweep(
        curve([(hub * 0.8, 0, 0), (0.55, blades.uniform(-0.1, 0.2), 0), (0.9, blades.uniform(0.0, 0.4), 0)]),
        ellipse(blades.uniform(0.3, 0.6), 0.03, num_sides=16) @ np.array([[0.8, 0.35], [-0.35, 0.8]]),
    )
    parts += named("blades", [*around(blade, count(blades, 3, 6)), turn([(hub, -0.15), (hub, 0.15), (hub * 0.6, 0.2)])])
    parts += named("motor", [turn([(0.2, -0.6), (0.3, -0.5), (0.3, -0.15)], section(rng.part()))])
    parts = [part.turned("x", 90) for part in parts]
    base = rng.part()
    drop = base.uniform(1.2, 2.2)
    parts += named("stand", [sweep([(0, 0.35, -0.1), (0, 0.35, -drop)], grip_section(base.part(), 0.14))])
    foot = turn([(0.6, 0), (0.6, 0.06), (0.15, 0.16)], section(base.part()))
    return [*parts, *named("stand", [pick(base, foot, slab(1.2, 0.8, 0.1, radius=0.1)).moved(y=0.35, z=-drop)])]


def screen(rng: Rng) -> list[Mesh]:
    """A flat screen that shows fields, buttons, lists and icons, on a thin housing."""
    wide, tall = pick(rng, (1.0, 1.8), (1.6, 1.1), (1.0, 1.0))
    thick = rng.uniform(0.04, 0.12)
    parts = named("housing", [slab(wide, tall, thick, radius=rng.uniform(0.02, 0.16), **rims(rng, 0.012))])
    glass = rounded_rectangle(wide * 0.92, tall * 0.86, radius=0.02)
    parts += named(
        "housing",
        [extrude(rounded_rectangle(wide * 0.94, tall * 0.88, radius=0.03), 0.01, holes=[glass]).moved(z=thick - 0.002)],
    )
    levels = np.sort(rng.uniform(-0.4, 0.4, count(rng, 2, 5))) * tall
    edges = [-0.42 * tall, *levels.tolist(), 0.42 * tall]
    for low, high in pairwise(edges):
        room = (high - low) * 0.84
        if room > 0.06:
            row = [part.moved(y=(low + high) / 2, z=thick - 0.002) for part in _widgets(rng.part(), wide * 0.86, room)]
            parts += named("picture", row)
    return [part.turned("x", 90) for part in parts]


def _widgets(rng: Rng, wide: float, room: float) -> list[Mesh]:
    """A row of things on a screen, 0.01 high, about the origin."""
    kind = pick(rng, "buttons", "icons", "field", "lines", "slider")
    num = count(rng, 1, 5)
    across = wide / num
    places = (np.arange(num) - (num - 1) / 2) * across
    if kind == "buttons":
        flat = rounded_rectangle(across * 0.84, min(room, 0.3), radius=min(room, 0.3) * rng.uniform(0.05, 0.5))
        return [extrude(flat + [x, 0], 0.01) for x in places]
    if kind == "icons":
        size = min(across, room) * 0.36
        return [mark(rng.part(), size, 0.01).moved(x=float(x)) for x in places]
    if kind == "field":
        inner = rounded_rectangle(wide * 0.96, room * 0.9, radius=0.02)
        return [extrude(rounded_rectangle(wide, room, radius=0.03), 0.01, holes=[inner])]
    if kind == "lines":
        bar = rng.uniform(0.3, 1.0, max(1, int(room / 0.08)))
        heights = (np.arange(len(bar)) - (len(bar) - 1) / 2) * 0.08
        return [box(wide * w, 0.03, 0.01).moved(x=-wide * (1 - w) / 2, y=float(y)) for w, y in zip(bar, heights)]
    knob_at = extrude(circle(min(room, 0.16) / 2, num_sides=24) + [rng.uniform(-0.4, 0.4) * wide, 0], 0.015)
    return [box(wide * 0.9, 0.02, 0.01), knob_at]


def toy(rng: Rng) -> list[Mesh]:
    """An animal or figure of round lumps."""
    parts = [_lump(rng.part(), 0.6)]
    head_part, up = rng.part(), rng.uniform(0.5, 0.9)
    forward = pick(rng, 0.0, 0.55)
    head = [_lump(head_part, head_part.uniform(0.3, 0.5))]
    ear = rng.part()
    shape = pick(
        ear, _lump(ear.part(), 0.16), turn([(0.14, 0), (0.02, 0.4)]), turn([(0.05, 0), (0.1, 0.5), (0.0, 0.6)])
    )
    head += named("ears", [shape.turned("y", 25 * s).moved(x=s * 0.2, z=0.26) for s in (-1, 1)])
    face = rng.part()
    head += named("face", [knob(face, 0.06).turned("x", 90).moved(x=s * 0.14, y=-0.3, z=0.08) for s in (-1, 1)])
    head += named("face", [_lump(face.part(), 0.14).moved(y=-0.34, z=-0.08)])
    parts += [part.moved(y=-forward, z=up) for part in head]
    leg = rng.part()
    limb = turn([(leg.uniform(0.1, 0.2), -0.7), (leg.uniform(0.1, 0.18), 0.0)], pick(leg, circle(), squircle(power=4)))
    for s in (-1, 1):
        for y in (-0.3, 0.3) if forward else (0.0,):
            parts += named("legs", [limb.moved(x=s * 0.3, y=y, z=-0.1)])
    arms = rng.part()
    if not forward:
        arm = sweep(
            curve([(0.4, 0, 0.25), (0.75, -0.15, arms.uniform(0, 0.4)), (0.9, -0.4, arms.uniform(-0.1, 0.5))]),
            circle(0.11, num_sides=16),
        )
        parts += named("arms", [arm, arm.scaled(-1, 1, 1)])
    tail = rng.part()
    if chance(tail, 0.6):
        path = curve([(0, 0.45, 0), (0, 0.8, tail.uniform(0, 0.4)), (0, 1.0, tail.uniform(0, 0.8))])
        parts += named("tail", [sweep(path, circle(tail.uniform(0.04, 0.12), num_sides=16))])
    return parts


def _lump(rng: Rng, size: float) -> Mesh:
    turns = np.linspace(-np.pi / 2, np.pi / 2, 19)
    ball = turn(
        np.stack([np.cos(turns), np.sin(turns)], axis=1) * size,
        pick(rng, circle(num_sides=32), squircle(power=2.6, num_sides=32)),
    )
    return ball.scaled(*rng.uniform(0.75, 1.25, 3).tolist())


def panel(rng: Rng) -> list[Mesh]:
    """A wide bowed panel with openings, lamps and ribs, as a car's front or the cover of a machine."""
    wide, tall, bow_in = rng.uniform(1.6, 2.6), rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.5)
    across = np.linspace(-1, 1, 17)
    pinch = rng.uniform(0.4, 1.0)
    rings = []
    for x in across:
        high = tall * (1 - (1 - pinch) * x * x)
        flat = rounded_rectangle(0.12, high, radius=0.05)
        rings.append(np.stack([np.full(len(flat), x * wide / 2), flat[:, 0] + bow_in * x * x, flat[:, 1]], axis=1))
    parts = [loft(np.stack(rings))]
    grille = rng.part()
    holes = hole_rows(grille.part(), wide * 0.4, tall * 0.4)
    plate = extrude(
        pick(grille, rounded_rectangle(wide * 0.45, tall * 0.5, radius=0.06), ellipse(wide * 0.5, tall * 0.55)),
        0.1,
        holes=holes,
    )
    parts += named("grille", [on_front(plate, 0.0, grille.uniform(-0.1, 0.1) * tall)])
    lamps = rng.part()
    lamp = extrude(
        pick(lamps, ellipse(0.4, 0.2), rounded_rectangle(0.4, 0.16, radius=0.05), polygon(6, radius=0.17)), 0.3
    )
    parts += named("lamps", [on_front(lamp, bow_in * 0.4 + 0.08, tall * 0.2).moved(x=s * wide * 0.34) for s in (-1, 1)])
    ribs = rng.part()
    rib = slab(wide * ribs.uniform(0.3, 0.6), 0.3, 0.05, radius=0.02)
    parts += named("ribs", [rib.moved(z=float(z)) for z in np.linspace(-0.42, -0.3, count(ribs, 1, 3)) * tall])
    if chance(rng, 0.6):
        parts += named("mark", [on_front(mark(rng.part(), 0.09, 0.2), 0.0, tall * 0.36)])
    return parts
