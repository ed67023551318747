"""Vehicle parts: wheels and panels."""

import numpy as np

from fastreid.synthetic.families.details import (
    make_emblem,
    make_hole_grid,
    make_knob,
    mount_on_front,
    sample_bar_section,
)
from fastreid.synthetic.geometry.mesh import (
    Mesh,
    as_component,
    box,
    circular_pattern,
    extrude,
    loft,
    revolve,
    ring,
    slab,
)
from fastreid.synthetic.geometry.outlines import (
    circle,
    ellipse,
    lobed_circle,
    polygon,
    rounded_rectangle,
    spline,
    star,
    toothed_circle,
)
from fastreid.synthetic.geometry.sweep import sweep
from fastreid.synthetic.sampling import PartRng, bernoulli, choose, randint


def build_wheel(rng: PartRng) -> list[Mesh]:
    """Build a wheel: a rim, spokes or a disc, and a hub; the axle points to the viewer."""
    width, half = 1.0, rng.uniform(0.1, 0.45)
    bead, floor = rng.uniform(0.72, 0.92), rng.uniform(0.6, 0.7)
    side = [(floor, -0.9), (bead, -1.0), (width, -0.8), (width, 0.8), (bead, 1.0), (floor, 0.9)]
    if bernoulli(rng, 0.4):
        side = [(floor, -1), (0.95, -1), (0.95, -0.8), (0.8, -0.7), (0.8, 0.7), (0.95, 0.8), (0.95, 1), (floor, 1)]
    parts = [revolve(np.array(side) * [1.0, half], closed=True)]
    if bernoulli(rng, 0.6):
        tread = choose(
            rng,
            toothed_circle(randint(rng, 18, 40), depth=0.05),
            toothed_circle(randint(rng, 8, 16), depth=0.14),
            lobed_circle(randint(rng, 6, 12), depth=0.1),
        )
        tire = ring(0.9, rng.uniform(0.13, 0.2), half * rng.uniform(0.8, 1.4), outline=tread)
        parts += as_component("tire", [tire])
    hub, hub_share = rng.uniform(0.12, 0.3), rng.uniform(0.1, 0.6)
    parts.append(
        revolve(
            [(hub, -half * rng.uniform(0.5, 1.2)), (hub, half * hub_share), (hub * 0.8, half * hub_share + 0.08)],
            choose(rng, circle(), polygon(6), lobed_circle(5, depth=0.15)),
        )
    )
    parts += as_component("spokes", _build_spokes(rng.next_part(), hub, floor + 0.05, half))
    bolts = randint(rng, 0, 6)
    if bolts > 2:
        bolt = revolve([(0.04, 0.0), (0.04, half * hub_share + 0.13)], polygon(6)).translate(x=hub * 0.6)
        parts += circular_pattern(bolt, bolts)
    else:
        parts.append(make_knob(rng.next_part(), hub * 0.4).translate(z=half * hub_share + 0.08))
    if bernoulli(rng, 0.25):
        parts.append(make_knob(rng.next_part(), 0.12).translate(x=0.86, z=half * 0.9))
    return [part.rotate("x", 90) for part in parts]


def _build_spokes(rng: PartRng, hub: float, rim: float, half: float) -> list[Mesh]:
    kind = choose(rng, "bars", "bars", "disc", "blades", "wires", "forked")
    num, thickness = randint(rng, 3, 9), rng.uniform(0.06, 0.14)
    z = rng.uniform(-0.3, 0.5) * half
    if kind == "disc":
        reach = (hub + rim) / 2
        size = min(reach * np.sin(np.pi / num) * 0.75, (rim - hub) * 0.38)
        hole = choose(rng, circle(num_sides=24), polygon(4), polygon(3), star(5, depth=0.4)) * size
        angles = np.arange(num) * 2 * np.pi / num
        holes = [hole + [reach * np.cos(t), reach * np.sin(t)] for t in angles]
        return [extrude(circle(rim + 0.02), thickness, holes=holes).translate(z=z)]
    if kind == "bars":
        bend = rng.uniform(-0.4, 0.4) * choose(rng, 0, 1)
        path = spline([(hub * 0.7, 0, z), ((hub + rim) / 2, bend * 0.5, z + rng.uniform(-0.1, 0.1)), (rim, bend, z)])
        spoke = sweep(
            path,
            sample_bar_section(rng.next_part(), thickness),
            scale=np.linspace(rng.uniform(0.8, 1.8), 1.0, len(path)),
        )
        return circular_pattern(spoke, num, start=90)
    if kind == "blades":
        blade = (
            box(rim - hub * 0.6, 0.03, half * 1.2)
            .rotate("x", rng.uniform(20, 60))
            .translate(x=(rim + hub * 0.6) / 2, z=-half * 0.3)
        )
        return circular_pattern(blade, num, start=90)
    if kind == "wires":
        wire = sweep([(hub * 0.8, 0.1, z - 0.1), (rim, -0.1, z)], circle(0.02, num_sides=12))
        other = sweep([(hub * 0.8, -0.1, z + 0.1), (rim, 0.1, z)], circle(0.02, num_sides=12))
        return [*circular_pattern(wire, num + 3), *circular_pattern(other, num + 3)]
    low = sweep(
        [(hub * 0.7, 0, z), (rim * 0.6, 0.02, z), (rim, rng.uniform(0.1, 0.25), z)],
        sample_bar_section(rng.next_part(), thickness * 0.8),
    )
    return [*circular_pattern(low, num, start=90), *circular_pattern(low.scale(1, -1, 1), num, start=90)]


def build_panel(rng: PartRng) -> list[Mesh]:
    """Build a wide curved panel with a grille, lamps and ribs, as the front of a car or the cover of a machine."""
    width, height, bow_in = rng.uniform(1.6, 2.6), rng.uniform(0.5, 1.0), rng.uniform(0.1, 0.5)
    across = np.linspace(-1, 1, 17)
    pinch = rng.uniform(0.4, 1.0)
    rings = []
    for x in across:
        high = height * (1 - (1 - pinch) * x * x)
        flat = rounded_rectangle(0.12, high, radius=0.05)
        rings.append(np.stack([np.full(len(flat), x * width / 2), flat[:, 0] + bow_in * x * x, flat[:, 1]], axis=1))
    parts = [loft(np.stack(rings))]
    grille = rng.next_part()
    holes = make_hole_grid(grille.next_part(), width * 0.4, height * 0.4)
    plate = extrude(
        choose(grille, rounded_rectangle(width * 0.45, height * 0.5, radius=0.06), ellipse(width * 0.5, height * 0.55)),
        0.1,
        holes=holes,
    )
    parts += as_component("grille", [mount_on_front(plate, 0.0, grille.uniform(-0.1, 0.1) * height)])
    lamps = rng.next_part()
    lamp = extrude(
        choose(lamps, ellipse(0.4, 0.2), rounded_rectangle(0.4, 0.16, radius=0.05), polygon(6, radius=0.17)), 0.3
    )
    parts += as_component(
        "lamps",
        [mount_on_front(lamp, bow_in * 0.4 + 0.08, height * 0.2).translate(x=s * width * 0.34) for s in (-1, 1)],
    )
    ribs = rng.next_part()
    rib = slab(width * ribs.uniform(0.3, 0.6), 0.3, 0.05, radius=0.02)
    parts += as_component(
        "ribs", [rib.translate(z=float(z)) for z in np.linspace(-0.42, -0.3, randint(ribs, 1, 3)) * height]
    )
    if bernoulli(rng, 0.6):
        parts += as_component("mark", [mount_on_front(make_emblem(rng.next_part(), 0.09, 0.2), 0.0, height * 0.36)])
    return parts
