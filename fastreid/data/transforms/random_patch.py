"""A piece of another drawing pasted over part of this one."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from fastreid.data.io.image import read_drawing
from fastreid.data.transforms.pipeline import chance, uniform
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


class RandomPatch:
    """With a probability, paste a rectangle of another training drawing, mirrored half of the time.

    The rectangle has 1 to 50 % of the area, is up to ten times as high as wide or as wide as high, and is cut from
    the other drawing resized to this one's size. fast-reid keeps a pool of earlier drawings in each worker; here the
    other drawing is drawn and read afresh, so that the result does not depend on which worker saw what before.

    Args:
        donors: the drawings a piece may come from.
        prob: probability 0..1.
        read: gives a drawing's page.
        skip_bad: leave the image as it is where the other drawing cannot be read, rather than refuse.
    """

    AREA = (0.01, 0.5)
    ASPECT = 10.0

    def __init__(
        self,
        donors: Sequence[Drawing],
        *,
        prob: float,
        read: Callable[[Drawing], np.ndarray] = read_drawing,
        skip_bad: bool = False,
    ):
        if not donors:
            raise InputError("INPUT.RPT.ENABLED needs the training drawings to take pieces from; none were given")
        self.donors = donors
        self.prob = prob
        self.read = read
        self.skip_bad = skip_bad

    def __call__(self, image: Image.Image) -> Image.Image:
        if not chance(self.prob):
            return image
        donor = self._donor(image.size)
        if donor is None:
            return image
        height, width = self._patch_size(image.height, image.width)
        tops, lefts = image.height - height + 1, image.width - width + 1
        from_top, from_left, top, left = (int(torch.randint(high, ())) for high in (tops, lefts, tops, lefts))
        patch = donor.crop((from_left, from_top, from_left + width, from_top + height))
        pasted = image.copy()
        pasted.paste(patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if chance(0.5) else patch, (left, top))
        return pasted

    def _donor(self, size: tuple[int, int]) -> Image.Image | None:
        drawing = self.donors[int(torch.randint(len(self.donors), ()))]
        try:
            page = Image.fromarray(self.read(drawing))
        except InputError as error:
            if self.skip_bad:
                return None
            raise InputError(f"for a random patch, {error}")
        return page.resize(size, Image.Resampling.BICUBIC)

    def _patch_size(self, height: int, width: int) -> tuple[int, int]:
        area = uniform(*self.AREA) * height * width
        aspect = math.exp(uniform(-1, 1) * math.log(self.ASPECT))
        high, wide = math.sqrt(area * aspect), math.sqrt(area / aspect)
        return min(max(round(high), 1), height), min(max(round(wide), 1), width)
