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


def build_package(rng: PartRng) -> list[Mesh]:
    """Build a carton, a pouch, a tube or a jar."""
    kind = choose(rng, "carton", "pouch", "tube", "jar")
    width, depth, height = rng.uniform(0.6, 1.2), rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.6)
    if kind == "carton":
        parts = [box(width, depth, height)]
        parts += as_component(
            "lid", [slab(width * 1.02, depth * 1.02, rng.uniform(0.05, 0.3) * height, radius=0.01).translate(z=height)]
        )
        window = rng.next_part()
        if bernoulli(window, 0.6):
            shape = choose(
                window, rounded_rectangle(width * 0.6, height * 0.4, radius=0.08), ellipse(width * 0.6, height * 0.4)
            )
            frame = extrude(shape * 1.12, 0.04, holes=[shape])
            parts += as_component(
                "window", [mount_on_front(frame, -depth * 0.5 + 0.02, height * window.uniform(0.35, 0.6))]
            )
    elif kind == "jar":
        outline = sample_section(rng.next_part())
        side = spline([(width * 0.45, 0), (width * rng.uniform(0.45, 0.6), height * 0.3), (width * 0.4, height * 0.6)])
        parts = [revolve(side, outline)]
        cap = rng.next_part()
        lid = [(width * 0.42, 0), (width * 0.42, height * 0.2), (width * 0.38, height * 0.23), (0, height * 0.23)]
        cover = revolve(
            fillet_corners(lid, sample_fillet(cap, 0.06)),
            choose(cap, circle(), toothed_circle(randint(cap, 20, 36), depth=0.05)),
        )
        neck = revolve([(width * 0.36, height * 0.58), (width * 0.36, height * 0.78)])
        parts += [neck, thread(width * 0.36, width * 0.025, height * 0.035, height * 0.1).translate(z=height * 0.67)]
        parts += as_component("cap", [cover.translate(z=height * cap.uniform(0.6, 0.66))])
    else:
        num = 24
        angles = np.arange(num) * (2 * np.pi / num)
        low = choose(rng, 1.0, 0.8) * depth / 2
        rings = []
        for t in np.linspace(0, 1, 8):
            thin = (low * (1 - t) + 0.02 * t) if kind == "tube" else low * np.sin(np.pi * (0.15 + 0.8 * t))
            across = depth / 2 * (1 - t) + width / 2 * t if kind == "tube" else width / 2
            rings.append(np.stack([across * np.cos(angles), thin * np.sin(angles), np.full(num, t * height)], axis=1))
        parts = [loft(np.stack(rings)), slab(width * 1.01, 0.05, height * 0.1).translate(z=height * 0.97)]
        end = rng.next_part()
        if kind == "tube":
            cap_side = [(depth * 0.42, -height * end.uniform(0.15, 0.3)), (depth * 0.42, 0.0), (depth * 0.3, 0.02)]
            parts += as_component(
                "cap", [revolve(cap_side, choose(end, circle(), polygon(8), toothed_circle(24, depth=0.05)))]
            )
        elif bernoulli(end, 0.6):
            spout = revolve([(0.1, -0.1), (0.1, 0.15), (0.14, 0.16), (0.14, 0.3)], choose(end, circle(), polygon(8)))
            parts += as_component("cap", [spout.translate(x=width * end.uniform(-0.3, 0.3), z=height * 1.05)])
    badge = make_emblem(rng.next_part(), rng.uniform(0.12, 0.25), 0.3)
    return [*parts, *as_component("mark", [mount_on_front(badge, -depth * 0.5 + 0.27, height * rng.uniform(0.2, 0.4))])]


def build_tray(rng: PartRng) -> list[Mesh]:
    """Build a tray with compartments, a rim and a lid."""
    width, depth, height = rng.uniform(1.0, 1.8), rng.uniform(0.8, 1.2), rng.uniform(0.15, 0.5)
    radius = rng.uniform(0.05, 0.3)
    outline = rounded_rectangle(width, depth, radius=radius)
    if bernoulli(rng, 0.25):
        outline = squircle(power=rng.uniform(2, 4)) * [width / 2, depth / 2]
    cells = rng.next_part()
    columns, rows = randint(cells, 1, 4), randint(cells, 1, 3)
    if columns == rows == 1:
        columns = 2
    across, along = width * 0.86 / columns, depth * 0.84 / rows
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
    parts = [extrude(outline * 0.98, height, holes=holes).translate(z=0.03), extrude(outline * 0.97, 0.04)]
    rim = rng.next_part()
    parts += as_component(
        "rim", [extrude(outline * rim.uniform(1.03, 1.1), 0.05, holes=[outline * 0.96]).translate(z=height)]
    )
    if bernoulli(rim, 0.4):
        grip = (
            make_handle(rim.next_part(), -depth * 0.2, depth * 0.2, reach=0.2, thickness=0.06)
            .rotate("x", -90)
            .translate(z=height)
        )
        parts += as_component("handle", circular_pattern(grip.translate(x=width * 0.52), 2))
    lid = rng.next_part()
    if bernoulli(lid, 0.6):
        cover = [extrude(outline * 1.04, 0.05), extrude(outline * lid.uniform(0.6, 0.9), lid.uniform(0.08, 0.15))]
        if bernoulli(lid, 0.6):
            cover.append(make_emblem(lid.next_part(), min(width, depth) * 0.2, 0.2))
        parts += as_component("lid", [part.translate(z=height + 0.06) for part in cover])
    return parts


def build_case(rng: PartRng) -> list[Mesh]:
    """Build a case, such as luggage or a tool box: lid, ribs, latches, a handle and perhaps feet or wheels."""
    width, depth, height = rng.uniform(0.7, 1.5), rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.5)
    radius, rim = rng.uniform(0.01, 0.25), sample_rim(rng, 0.05)
    lid = rng.uniform(0.12, 0.4) * height
    parts = [slab(width, depth, height - lid, radius=radius, **rim)]
    lid_scale = rng.uniform(1.0, 1.08)
    cover = slab(width * lid_scale, depth * lid_scale, lid, radius=radius, **rim)
    parts += as_component("lid", [cover.translate(z=height - lid + rng.uniform(0.0, 0.03))])
    num = randint(rng, 0, 6)
    rib = slab(0.06, depth * 1.07, (height - lid) * 0.8, radius=0.02)
    if bernoulli(rng, 0.4):
        rib = slab(width * 1.05, depth * 1.07, 0.05, radius=radius)
        parts += [rib.translate(z=z) for z in np.linspace(0.12, 0.85, num) * (height - lid)]
    else:
        parts += [rib.translate(x=x, z=0.08 * height) for x in np.linspace(-0.4, 0.4, num) * width]
    latch = slab(0.14, 0.08, rng.uniform(0.12, 0.3), radius=0.02)
    xs = choose(rng, (0.0,), (-0.28, 0.28), (-0.35, 0.0, 0.35))
    parts += [latch.translate(x=x * width, y=-depth * 0.54, z=height - lid - 0.08) for x in xs]
    parts += as_component("handle", _build_carry_handle(rng.next_part(), width, depth, height))
    if bernoulli(rng, 0.3):
        parts += [part.scale(width * 0.55, depth * 0.55, 1) for part in make_feet(rng.next_part(), 1.0, 0.12)]
    elif bernoulli(rng, 0.4):
        roll = revolve([(0.12, -0.05), (0.12, 0.05)]).rotate("y", 90)
        parts += [roll.translate(x=x * width, y=depth * 0.42, z=0.0) for x in (-0.4, 0.4)]
    if bernoulli(rng, 0.6):
        parts.append(
            mount_on_front(
                make_emblem(rng.next_part(), rng.uniform(0.1, 0.2), 0.2),
                -depth * 0.5 + 0.1,
                (height - lid) * rng.uniform(0.35, 0.65),
            )
        )
    return parts


def _build_carry_handle(rng: PartRng, width: float, depth: float, height: float) -> list[Mesh]:
    """Build the handles of a case."""
    kind = choose(rng, "top", "sides", "pole", "knob", "strap")
    thickness = rng.uniform(0.05, 0.1)
    if kind == "top":
        handle = make_handle(
            rng.next_part(), -width * 0.25, width * 0.25, reach=rng.uniform(0.15, 0.35), thickness=thickness
        )
        return [handle.rotate("y", -90).translate(z=height - 0.02)]
    if kind == "sides":
        handle = make_handle(rng.next_part(), height * 0.35, height * 0.7, reach=0.2, thickness=thickness).translate(
            x=width * 0.5
        )
        return circular_pattern(handle, 2)
    if kind == "pole":
        high = rng.uniform(0.4, 1.0)
        pole = [
            (-width * 0.25, 0, height * 0.5),
            (-width * 0.25, 0, height + high),
            (width * 0.25, 0, height + high),
            (width * 0.25, 0, height * 0.5),
        ]
        return [sweep(pole, sample_bar_section(rng.next_part(), thickness)).translate(y=depth * 0.5 + 0.02)]
    if kind == "knob":
        return [make_knob(rng.next_part(), rng.uniform(0.08, 0.16)).translate(z=height)]
    angles = np.linspace(0, np.pi, 17)
    path = np.stack(
        [width * 0.52 * np.cos(angles), 0 * angles, height * 0.7 + rng.uniform(0.5, 1.0) * height * np.sin(angles)],
        axis=1,
    )
    return [sweep(path, rounded_rectangle(0.05, 0.2, radius=0.02))]
