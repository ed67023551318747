"""The kinds of product patents show; each is a rule that builds an object from random draws."""

from collections.abc import Callable

import numpy as np

from fastreid.data.generated.furnishings import case, device, furniture
from fastreid.data.generated.hardware import fitting, tool, wheel
from fastreid.data.generated.shapes import Mesh
from fastreid.data.generated.vessels import bottle, lamp, pot
from fastreid.utils.registry import Registry

FAMILIES: Registry[Callable[[np.random.Generator], list[Mesh]]] = Registry(
    "family of generated objects",
    {
        "bottle": bottle,
        "case": case,
        "device": device,
        "fitting": fitting,
        "furniture": furniture,
        "lamp": lamp,
        "pot": pot,
        "tool": tool,
        "wheel": wheel,
    },
)


def build_object(rng: np.random.Generator) -> list[Mesh]:
    """The parts of one object, of a family that is drawn too."""
    names = FAMILIES.names()
    return FAMILIES.get(names[int(rng.integers(len(names)))])(rng)
