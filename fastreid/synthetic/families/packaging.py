"""Packaging: packages, trays and cases."""

import numpy as np

from fastreid.synthetic.families.details import (
    make_emblem,
    make_feet,
    make_handle,
    make_knob,
    mount_on_front,
    sample_bar_section,
    sample_fillet,
    sample_rim,
    sample_section,
)
from fastreid.synthetic.geometry.mesh import Mesh, as_component, box, circular_pattern, extrude, loft, revolve, slab
from fastreid.synthetic.geometry.outlines import (
    circle,
    ellipse,
    fillet_corners,
    polygon,
    rounded_rectangle,
    spline,
    squircle,
    toothed_circle,
)
from fastreid.synthetic.geometry.sweep import sweep, thread
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def package(rng: PartRng) -> list[Mesh]:
    """A carton, a pouch, a tube or a jar."""
    kind = choose(rng, "carton", "pouch", "tube", "jar")
    wide, deep, tall = rng.uniform(0.6, 1.2), rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.6)
    if kind == "carton":
        parts = [box(wide, deep, tall)]
        parts += as_component(
            "lid", [slab(wide * 1.02, deep * 1.02, rng.uniform(0.05, 0.3) * tall, radius=0.01).translate(z=tall)]
        )
        window = rng.next_part()
        if bernoulli(window, 0.6):
            shape = choose(
                window, rounded_rectangle(wide * 0.6, tall * 0.4, radius=0.08), ellipse(wide * 0.6, tall * 0.4)
            )
            frame = extrude(shape * 1.12, 0.04, holes=[shape])
            parts += as_component(
                "window", [mount_on_front(frame, -deep * 0.5 + 0.02, tall * window.uniform(0.35, 0.6))]
            )
    elif kind == "jar":
        outline = sample_section(rng.next_part())
        side = spline([(wide * 0.45, 0), (wide * rng.uniform(0.45, 0.6), tall * 0.3), (wide * 0.4, tall * 0.6)])
        parts = [revolve(side, outline)]
        cap = rng.next_part()
        lid = [(wide * 0.42, 0), (wide * 0.42, tall * 0.2), (wide * 0.38, tall * 0.23), (0, tall * 0.23)]
        cover = revolve(
            fillet_corners(lid, sample_fillet(cap, 0.06)),
            choose(cap, circle(), toothed_circle(randint(cap, 20, 36), depth=0.05)),
        )
        neck = revolve([(wide * 0.36, tall * 0.58), (wide * 0.36, tall * 0.78)])
        parts += [neck, thread(wide * 0.36, wide * 0.025, tall * 0.035, tall * 0.1).translate(z=tall * 0.67)]
        parts += as_component("cap", [cover.translate(z=tall * cap.uniform(0.6, 0.66))])
    else:
        num = 24
        turns = np.arange(num) * (2 * np.pi / num)
        low = choose(rng, 1.0, 0.8) * deep / 2
        rings = []
        for share in np.linspace(0, 1, 8):
            thin = (low * (1 - share) + 0.02 * share) if kind == "tube" else low * np.sin(np.pi * (0.15 + 0.8 * share))
            across = deep / 2 * (1 - share) + wide / 2 * share if kind == "tube" else wide / 2
            rings.append(np.stack([across * np.cos(turns), thin * np.sin(turns), np.full(num, share * tall)], axis=1))
        parts = [loft(np.stack(rings)), slab(wide * 1.01, 0.05, tall * 0.1).translate(z=tall * 0.97)]
        end = rng.next_part()
        if kind == "tube":
            cap_side = [(deep * 0.42, -tall * end.uniform(0.15, 0.3)), (deep * 0.42, 0.0), (deep * 0.3, 0.02)]
            parts += as_component(
                "cap", [revolve(cap_side, choose(end, circle(), polygon(8), toothed_circle(24, depth=0.05)))]
            )
        elif bernoulli(end, 0.6):
            spout = revolve([(0.1, -0.1), (0.1, 0.15), (0.14, 0.16), (0.14, 0.3)], choose(end, circle(), polygon(8)))
            parts += as_component("cap", [spout.translate(x=wide * end.uniform(-0.3, 0.3), z=tall * 1.05)])
    badge = make_emblem(rng.next_part(), rng.uniform(0.12, 0.25), 0.3)
    return [*parts, *as_component("mark", [mount_on_front(badge, -deep * 0.5 + 0.27, tall * rng.uniform(0.2, 0.4))])]


def tray(rng: PartRng) -> list[Mesh]:
    """A flat dish with compartments, a rim and a lid."""
    wide, deep, tall = rng.uniform(1.0, 1.8), rng.uniform(0.8, 1.2), rng.uniform(0.15, 0.5)
    radius = rng.uniform(0.05, 0.3)
    outline = rounded_rectangle(wide, deep, radius=radius)
    if bernoulli(rng, 0.25):
        outline = squircle(power=rng.uniform(2, 4)) * [wide / 2, deep / 2]
    cells = rng.next_part()
    columns, rows = randint(cells, 1, 4), randint(cells, 1, 3)
    if columns == rows == 1:
        columns = 2
    across, along = wide * 0.86 / columns, deep * 0.84 / rows
    if bernoulli(cells, 0.3):
        small = min(across, along) * 0.44
        cell = choose(cells, circle(small), polygon(6, radius=small), squircle(power=3) * small)
    else:
        cell = rounded_rectangle(across * 0.88, along * 0.86, radius=cells.uniform(0.02, 0.15))
    holes = [
        cell + [(c - (columns - 1) / 2) * across, (r - (rows - 1) / 2) * along]
        for c in range(columns)
        for r in range(rows)
    ]
    parts = [extrude(outline * 0.98, tall, holes=holes).translate(z=0.03), extrude(outline * 0.97, 0.04)]
    rim = rng.next_part()
    parts += as_component(
        "rim", [extrude(outline * rim.uniform(1.03, 1.1), 0.05, holes=[outline * 0.96]).translate(z=tall)]
    )
    if bernoulli(rim, 0.4):
        grip = (
            make_handle(rim.next_part(), -deep * 0.2, deep * 0.2, reach=0.2, thickness=0.06)
            .rotate("x", -90)
            .translate(z=tall)
        )
        parts += as_component("handle", circular_pattern(grip.translate(x=wide * 0.52), 2))
    lid = rng.next_part()
    if bernoulli(lid, 0.6):
        cover = [extrude(outline * 1.04, 0.05), extrude(outline * lid.uniform(0.6, 0.9), lid.uniform(0.08, 0.15))]
        if bernoulli(lid, 0.6):
            cover.append(make_emblem(lid.next_part(), min(wide, deep) * 0.2, 0.2))
        parts += as_component("lid", [part.translate(z=tall + 0.06) for part in cover])
    return parts


def case(rng: PartRng) -> list[Mesh]:
    """A box with a lid, ribs, a latch, a handle and perhaps wheels: luggage, a tool box, a package."""
    wide, deep, tall = rng.uniform(0.7, 1.5), rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.5)
    radius, rim = rng.uniform(0.01, 0.25), sample_rim(rng, 0.05)
    lid = rng.uniform(0.12, 0.4) * tall
    parts = [slab(wide, deep, tall - lid, radius=radius, **rim)]
    grow = rng.uniform(1.0, 1.08)
    cover = slab(wide * grow, deep * grow, lid, radius=radius, **rim)
    parts += as_component("lid", [cover.translate(z=tall - lid + rng.uniform(0.0, 0.03))])
    num = randint(rng, 0, 6)
    rib = slab(0.06, deep * 1.07, (tall - lid) * 0.8, radius=0.02)
    if bernoulli(rng, 0.4):
        rib = slab(wide * 1.05, deep * 1.07, 0.05, radius=radius)
        parts += [rib.translate(z=z) for z in np.linspace(0.12, 0.85, num) * (tall - lid)]
    else:
        parts += [rib.translate(x=x, z=0.08 * tall) for x in np.linspace(-0.4, 0.4, num) * wide]
    latch = slab(0.14, 0.08, rng.uniform(0.12, 0.3), radius=0.02)
    xs = choose(rng, (0.0,), (-0.28, 0.28), (-0.35, 0.0, 0.35))
    parts += [latch.translate(x=x * wide, y=-deep * 0.54, z=tall - lid - 0.08) for x in xs]
    parts += as_component("handle", _carry(rng.next_part(), wide, deep, tall))
    if bernoulli(rng, 0.3):
        parts += [part.scale(wide * 0.55, deep * 0.55, 1) for part in make_feet(rng.next_part(), 1.0, 0.12)]
    elif bernoulli(rng, 0.4):
        roll = revolve([(0.12, -0.05), (0.12, 0.05)]).rotate("y", 90)
        parts += [roll.translate(x=x * wide, y=deep * 0.42, z=0.0) for x in (-0.4, 0.4)]
    if bernoulli(rng, 0.6):
        parts.append(
            mount_on_front(
                make_emblem(rng.next_part(), rng.uniform(0.1, 0.2), 0.2),
                -deep * 0.5 + 0.1,
                (tall - lid) * rng.uniform(0.35, 0.65),
            )
        )
    return parts


def _carry(rng: PartRng, wide: float, deep: float, tall: float) -> list[Mesh]:
    """Handles of a case."""
    kind = choose(rng, "top", "sides", "pole", "knob", "strap")
    thick = rng.uniform(0.05, 0.1)
    if kind == "top":
        handle = make_handle(rng.next_part(), -wide * 0.25, wide * 0.25, reach=rng.uniform(0.15, 0.35), thickness=thick)
        return [handle.rotate("y", -90).translate(z=tall - 0.02)]
    if kind == "sides":
        handle = make_handle(rng.next_part(), tall * 0.35, tall * 0.7, reach=0.2, thickness=thick).translate(
            x=wide * 0.5
        )
        return circular_pattern(handle, 2)
    if kind == "pole":
        high = rng.uniform(0.4, 1.0)
        pole = [
            (-wide * 0.25, 0, tall * 0.5),
            (-wide * 0.25, 0, tall + high),
            (wide * 0.25, 0, tall + high),
            (wide * 0.25, 0, tall * 0.5),
        ]
        return [sweep(pole, sample_bar_section(rng.next_part(), thick)).translate(y=deep * 0.5 + 0.02)]
    if kind == "knob":
        return [make_knob(rng.next_part(), rng.uniform(0.08, 0.16)).translate(z=tall)]
    turns = np.linspace(0, np.pi, 17)
    path = np.stack(
        [wide * 0.52 * np.cos(turns), 0 * turns, tall * 0.7 + rng.uniform(0.5, 1.0) * tall * np.sin(turns)], axis=1
    )
    return [sweep(path, rounded_rectangle(0.05, 0.2, radius=0.02))]
