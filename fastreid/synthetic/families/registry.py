"""The kinds of product patents show; each is a rule that builds an object from random draws."""

from collections.abc import Callable

import numpy as np

from fastreid.synthetic.families.appliances import fan, lamp
from fastreid.synthetic.families.electronics import device, plug, screen
from fastreid.synthetic.families.fittings import fitting
from fastreid.synthetic.families.furniture import furniture
from fastreid.synthetic.families.packaging import case, package, tray
from fastreid.synthetic.families.tools import tool
from fastreid.synthetic.families.toys import toy
from fastreid.synthetic.families.vehicles import panel, wheel
from fastreid.synthetic.families.vessels import bottle, pot
from fastreid.synthetic.families.wearables import bag, eyewear, headset, jewel, shoe
from fastreid.synthetic.geometry.mesh import Mesh
from fastreid.synthetic.sampling import PartRng
from fastreid.utils.registry import Registry
from fastreid.utils.seeding import keyed_generator

FAMILIES: Registry[Callable[[PartRng], list[Mesh]]] = Registry(
    "family of generated objects",
    {
        "bag": bag,
        "bottle": bottle,
        "case": case,
        "device": device,
        "eyewear": eyewear,
        "fan": fan,
        "fitting": fitting,
        "furniture": furniture,
        "headset": headset,
        "jewel": jewel,
        "lamp": lamp,
        "package": package,
        "panel": panel,
        "plug": plug,
        "pot": pot,
        "screen": screen,
        "shoe": shoe,
        "tool": tool,
        "toy": toy,
        "tray": tray,
        "wheel": wheel,
    },
)
HELD_OUT_FAMILIES = (
    "bag",
    "eyewear",
    "fan",
    "lamp",
    "package",
    "tray",
)  # those of test patents alone, where families are disjoint
FEW_FAMILIES = ("bottle", "device", "tool")  # those of training patents where variety of families is left out
FIRST_TEST_PATENT = 500_000  # patents below it are trained on; so more training patents change no test patent


def sample_family(seed: int, number: int, *, disjoint: bool, few_families: bool = False) -> str:
    """The family of a patent; where `disjoint`, patents to test on have those held out and the others have the rest.

    `few_families` leaves it one of FEW.
    """
    names = FAMILIES.names()
    if few_families:
        names = list(FEW_FAMILIES)
    elif disjoint:
        names = [name for name in names if (name in HELD_OUT_FAMILIES) == (number >= FIRST_TEST_PATENT)]
    return names[int(keyed_generator(seed, "generated", number, "family").integers(len(names)))]


def build_object(family: str, seed: int, number: int, *, sibling: int | None = None) -> list[Mesh]:
    """The parts of one object; with `sibling` those of a patent of that number that differs from it in one part."""
    draws = PartRng(seed, "generated", number, "object")
    make = FAMILIES.get(family)
    parts = make(draws)
    if sibling is None:
        return parts
    order = keyed_generator(seed, "generated", sibling, "part").permutation(draws.num_parts)
    for redrawn in order.tolist():
        other = make(PartRng(seed, "generated", number, "object", resampled_part=redrawn))
        if not _have_same_vertices(parts, other):
            return other
    return make(PartRng(seed, "generated", sibling, "object"))


def _have_same_vertices(parts: list[Mesh], others: list[Mesh]) -> bool:
    return len(parts) == len(others) and all(
        one.vertices.shape == other.vertices.shape and np.allclose(one.vertices, other.vertices)
        for one, other in zip(parts, others)
    )
