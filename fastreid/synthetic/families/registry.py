"""Registry of the parametric families; each builds an object from random numbers."""

from collections.abc import Callable

import numpy as np

from fastreid.synthetic.families.appliances import build_fan, build_lamp
from fastreid.synthetic.families.electronics import build_device, build_plug, build_screen
from fastreid.synthetic.families.fittings import build_fitting
from fastreid.synthetic.families.furniture import build_furniture
from fastreid.synthetic.families.packaging import build_case, build_package, build_tray
from fastreid.synthetic.families.tools import build_tool
from fastreid.synthetic.families.toys import build_toy
from fastreid.synthetic.families.vehicles import build_panel, build_wheel
from fastreid.synthetic.families.vessels import build_bottle, build_pot
from fastreid.synthetic.families.wearables import build_bag, build_eyewear, build_headset, build_jewel, build_shoe
from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.sampling import PartRng
from fastreid.utils.registry import Registry
from fastreid.utils.seeding import keyed_generator

FAMILIES: Registry[Callable[[PartRng], list[Mesh]]] = Registry(
    "synthetic object family",
    {
        "bag": build_bag,
        "bottle": build_bottle,
        "case": build_case,
        "device": build_device,
        "eyewear": build_eyewear,
        "fan": build_fan,
        "fitting": build_fitting,
        "furniture": build_furniture,
        "headset": build_headset,
        "jewel": build_jewel,
        "lamp": build_lamp,
        "package": build_package,
        "panel": build_panel,
        "plug": build_plug,
        "pot": build_pot,
        "screen": build_screen,
        "shoe": build_shoe,
        "tool": build_tool,
        "toy": build_toy,
        "tray": build_tray,
        "wheel": build_wheel,
    },
)
# families of test patents only, if training and test families are disjoint
HELD_OUT_FAMILIES = ("bag", "eyewear", "fan", "lamp", "package", "tray")
FEW_FAMILIES = ("bottle", "device", "tool")  # families of training patents if the variety of families is excluded
FIRST_TEST_PATENT = 500_000  # smaller numbers are training patents, so their count does not affect test patents


def sample_family(seed: int, number: int, *, disjoint: bool, few_families: bool = False) -> str:
    """Sample the family of a patent.

    Args:
        seed: seed of the collection.
        number: number of the patent.
        disjoint: take HELD_OUT_FAMILIES for test patents and the other families for training patents.
        few_families: choose from FEW_FAMILIES.
    """
    names = FAMILIES.names()
    if few_families:
        names = list(FEW_FAMILIES)
    elif disjoint:
        names = [name for name in names if (name in HELD_OUT_FAMILIES) == (number >= FIRST_TEST_PATENT)]
    return names[int(keyed_generator(seed, "generated", number, "family").integers(len(names)))]


def build_object(family: str, seed: int, number: int, *, sibling_number: int | None = None) -> list[Mesh]:
    """Build the parts of an object.

    Args:
        family: name in FAMILIES.
        seed: seed of the collection.
        number: number of the patent.
        sibling_number: build a sibling with this number instead: a near-duplicate that differs in a single part.
    """
    rng = PartRng(seed, "generated", number, "object")
    build = FAMILIES.get(family)
    parts = build(rng)
    if sibling_number is None:
        return parts
    order = keyed_generator(seed, "generated", sibling_number, "part").permutation(rng.num_parts)
    for part in order.tolist():
        sibling = build(PartRng(seed, "generated", number, "object", resampled_index=part))
        if not _have_same_vertices(parts, sibling):
            return sibling
    return build(PartRng(seed, "generated", sibling_number, "object"))


def _have_same_vertices(parts: list[Mesh], other_parts: list[Mesh]) -> bool:
    return len(parts) == len(other_parts) and all(
        part.vertices.shape == other_part.vertices.shape and np.allclose(part.vertices, other_part.vertices)
        for part, other_part in zip(parts, other_parts)
    )
