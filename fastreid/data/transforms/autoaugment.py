"""AutoAugment and AugMix on grey pages, with one set of operations."""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from fastreid.data.transforms.pipeline import chance, uniform

# The 25 policies learnt on ImageNet, two operations each: (name, probability, level 0..10).
# Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", 2019, table 9.
POLICIES = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)


def apply(name: str, image: Image.Image, level: float, *, fill: int) -> Image.Image:
    """One named operation on a grey page.

    Args:
        name: a key of the tables below.
        image: the page.
        level: strength 0..10; the direction of a rotation or shear is drawn.
        fill: grey level 0..255 of what comes in from outside the page.
    """
    if name in _LEVELS:
        return _LEVELS[name](image, level / 10)
    return _warp(image, name, level / 10 * (1 if chance(0.5) else -1), fill=fill)


# Strengths as share of the full one; a grey page has no colour that could change.
_LEVELS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda image, share: F.autocontrast(image),
    "Equalize": lambda image, share: F.equalize(image),
    "Invert": lambda image, share: F.invert(image),
    "Color": lambda image, share: image,
    "Contrast": lambda image, share: F.adjust_contrast(image, 1.8 * share + 0.1),
    "Sharpness": lambda image, share: F.adjust_sharpness(image, 1.8 * share + 0.1),
    "Posterize": lambda image, share: F.posterize(image, 4 + int(4 * share)),
    "Solarize": lambda image, share: F.solarize(image, int(256 * share)),
    "SolarizeLess": lambda image, share: F.solarize(image, 256 - int(256 * share)),
    "PosterizeMore": lambda image, share: F.posterize(image, 4 - int(4 * share)),
}


def _warp(image: Image.Image, name: str, share: float, *, fill: int) -> Image.Image:
    """Rotate by up to 30 degrees, shear by up to .3, or shift by up to a third of the side; `share` is -1..1."""
    shear = math.degrees(math.atan(0.3 * share))
    angles = {"Rotate": 30 * share}
    shears = {"ShearX": [shear, 0.0], "ShearY": [0.0, shear]}
    shifts = {"TranslateX": [round(image.width / 3 * share), 0], "TranslateY": [0, round(image.height / 3 * share)]}
    return F.affine(
        image,
        angle=angles.get(name, 0.0),
        translate=shifts.get(name, [0, 0]),
        scale=1.0,
        shear=shears.get(name, [0.0, 0.0]),
        interpolation=InterpolationMode.BILINEAR if chance(0.5) else InterpolationMode.BICUBIC,
        fill=fill,
        center=[0, 0] if name in shears else None,
    )


class AutoAugment:
    """With a probability, one of the 25 published policies.

    Args:
        prob: probability 0..1.
        fill: grey level 0..255 from outside the page; fast-reid has 128 here.
    """

    def __init__(self, prob: float, *, fill: int):
        self.prob = prob
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        if not chance(self.prob):
            return image
        for name, probability, level in POLICIES[int(torch.randint(len(POLICIES), ()))]:
            if chance(probability):
                image = apply(name, image, level, fill=self.fill)
        return image


class AugMix:
    """With a probability, the page mixed with three copies of it that one mild operation each has changed.

    Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", 2020, with one
    operation a chain, levels .1 to 1 of 10, and weights from Dirichlet(.1) and Beta(.1, .1), as fast-reid has it.

    Args:
        prob: probability 0..1.
        fill: grey level 0..255 from outside the page.
    """

    NUM_CHAINS = 3
    SPREAD = 0.1
    OPERATIONS = (
        "AutoContrast",
        "Equalize",
        "PosterizeMore",
        "Rotate",
        "SolarizeLess",
        "ShearX",
        "ShearY",
        "TranslateX",
        "TranslateY",
    )

    def __init__(self, prob: float, *, fill: int):
        self.prob = prob
        self.fill = fill

    def __call__(self, image: Image.Image) -> Image.Image:
        if not chance(self.prob):
            return image
        spread = torch.full((self.NUM_CHAINS,), self.SPREAD, dtype=torch.float64)
        weights = torch.distributions.Dirichlet(spread).sample().tolist()
        share = torch.distributions.Beta(spread[0], spread[0]).sample().item()
        mixed = (1 - share) * np.asarray(image, dtype=np.float32)
        for weight in weights:
            name = self.OPERATIONS[int(torch.randint(len(self.OPERATIONS), ()))]
            changed = apply(name, image, uniform(0.1, 1.0), fill=self.fill)
            mixed = mixed + share * weight * np.asarray(changed, dtype=np.float32)
        return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
