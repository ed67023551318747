"""AutoAugment and AugMix for gray and RGB pages, based on one set of operations."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastreid.data.transforms.pipeline import bernoulli, uniform
from fastreid.data.transforms.torchvision_v2 import import_v2

Policy = tuple[tuple[str, float, int], ...]  # operations: (name, probability, level 0..10)

# The 25 policies learned on ImageNet, two operations each.
# Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", 2019, table 9.
IMAGENET_POLICIES: tuple[Policy, ...] = (
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


# A photograph stays plausible when it is inverted; a line drawing becomes one of white lines on dark paper.
INVERTING_OPERATIONS = ("Invert", "Solarize", "SolarizeLess")

# Name in INPUT.AUTOAUG.POLICY -> policies.
POLICIES: dict[str, tuple[Policy, ...]] = {
    "imagenet": IMAGENET_POLICIES,
    "drawings": tuple(
        tuple(operation for operation in policy if operation[0] not in INVERTING_OPERATIONS)
        for policy in IMAGENET_POLICIES
    ),
}


def apply_operation(name: str, image: Image.Image, level: float, *, fill: int) -> Image.Image:
    """Apply a named operation to a page.

    Args:
        name: operation, as in `IMAGENET_POLICIES` and `AugMix.OPERATIONS`.
        image: the page, mode L or RGB.
        level: strength 0..10; the direction of a geometric operation is sampled.
        fill: gray level 0..255 of pixels from outside the page.
    """
    if name in _PIXEL_OPERATIONS:
        return _PIXEL_OPERATIONS[name](import_v2().functional, image, level / 10)
    return _apply_affine(image, name, level / 10 * (1 if bernoulli(0.5) else -1), fill=fill)


def _adjust_color(F: Any, image: Image.Image, factor: float) -> Image.Image:
    """Adjust the saturation of a page; a gray page has none."""
    adjusted: Image.Image = image if image.mode == "L" else F.adjust_saturation(image, factor)
    return adjusted


# Arguments: torchvision's functions, the page, the strength 0..1.
_PIXEL_OPERATIONS: dict[str, Callable[[Any, Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda F, image, strength: F.autocontrast(image),
    "Equalize": lambda F, image, strength: F.equalize(image),
    "Invert": lambda F, image, strength: F.invert(image),
    "Color": lambda F, image, strength: _adjust_color(F, image, 1.8 * strength + 0.1),
    "Contrast": lambda F, image, strength: F.adjust_contrast(image, 1.8 * strength + 0.1),
    "Sharpness": lambda F, image, strength: F.adjust_sharpness(image, 1.8 * strength + 0.1),
    "Posterize": lambda F, image, strength: F.posterize(image, 4 + int(4 * strength)),
    "Solarize": lambda F, image, strength: F.solarize(image, int(256 * strength)),
    "SolarizeLess": lambda F, image, strength: F.solarize(image, 256 - int(256 * strength)),
    "PosterizeMore": lambda F, image, strength: F.posterize(image, 4 - int(4 * strength)),
}


def _apply_affine(image: Image.Image, name: str, strength: float, *, fill: int) -> Image.Image:
    """Rotate by up to 30 degrees, shear by up to 0.3 or translate by up to a third of the side; strength is -1..1."""
    shear = math.degrees(math.atan(0.3 * strength))
    angles = {"Rotate": 30 * strength}
    shears = {"ShearX": [shear, 0.0], "ShearY": [0.0, shear]}
    shifts = {
        "TranslateX": [round(image.width / 3 * strength), 0],
        "TranslateY": [0, round(image.height / 3 * strength)],
    }
    v2 = import_v2()
    modes = v2.InterpolationMode
    warped: Image.Image = v2.functional.affine(
        image,
        angle=angles.get(name, 0.0),
        translate=shifts.get(name, [0, 0]),
        scale=1.0,
        shear=shears.get(name, [0.0, 0.0]),
        interpolation=modes.BILINEAR if bernoulli(0.5) else modes.BICUBIC,
        fill=fill,
        center=[0, 0] if name in shears else None,
    )
    return warped


class AutoAugment:
    """Apply one of 25 policies with a probability.

    Args:
        prob: probability 0..1.
        policy: "imagenet" for the published table, "drawings" for the same without INVERTING_OPERATIONS, which turn
            22 % of rendered sheets into white lines on dark paper.
        fill: gray level 0..255 of pixels from outside the page (fast-reid uses 128).
    """

    def __init__(self, prob: float, *, fill: int, policy: str = "imagenet"):
        self.prob = prob
        self.fill = fill
        self.policies = POLICIES[policy]

    def __call__(self, image: Image.Image) -> Image.Image:
        if not bernoulli(self.prob):
            return image
        for name, probability, level in self.policies[int(torch.randint(len(self.policies), ()))]:
            if bernoulli(probability):
                image = apply_operation(name, image, level, fill=self.fill)
        return image


class AugMix:
    """Mix the page, with a probability, with three copies that are each changed by one mild operation.

    Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and Uncertainty", 2020. As in
    fast-reid: one operation per chain, levels 0.1 to 1 of 10, weights from Dirichlet(0.1) and Beta(0.1, 0.1).

    Args:
        prob: probability 0..1.
        policy: "imagenet" for all OPERATIONS, "drawings" for those that are not in INVERTING_OPERATIONS.
        fill: gray level 0..255 of pixels from outside the page.
    """

    NUM_CHAINS = 3
    CONCENTRATION = 0.1
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

    def __init__(self, prob: float, *, fill: int, policy: str = "imagenet"):
        self.prob = prob
        self.fill = fill
        excluded = INVERTING_OPERATIONS if policy == "drawings" else ()
        self.operations = tuple(name for name in self.OPERATIONS if name not in excluded)

    def __call__(self, image: Image.Image) -> Image.Image:
        if not bernoulli(self.prob):
            return image
        concentration = torch.full((self.NUM_CHAINS,), self.CONCENTRATION, dtype=torch.float64)
        weights = torch.distributions.Dirichlet(concentration).sample().tolist()
        mix_weight = torch.distributions.Beta(concentration[0], concentration[0]).sample().item()
        mixed = (1 - mix_weight) * np.asarray(image, dtype=np.float32)
        for weight in weights:
            name = self.operations[int(torch.randint(len(self.operations), ()))]
            changed = apply_operation(name, image, uniform(0.1, 1.0), fill=self.fill)
            mixed = mixed + mix_weight * weight * np.asarray(changed, dtype=np.float32)
        return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
