"""Random patch: paste a part of another drawing."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from fastreid.data.io.image import read_drawing
from fastreid.data.transforms.pipeline import bernoulli, uniform
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


class RandomPatch:
    """Paste, with a probability, a rectangle of another training drawing, flipped half of the time.

    The rectangle covers 1 to 50 % of the area, has an aspect ratio of up to 10, and is cropped from the other drawing
    after resizing it to the size of this one. fast-reid keeps a pool of earlier drawings in each worker; here the other
    drawing is sampled and read each time, so the result does not depend on what a worker has read before.

    Args:
        donors: drawings that patches are taken from.
        prob: probability 0..1.
        read: returns the page of a drawing.
        skip_unreadable: return the image unchanged if the other drawing is unreadable, instead of raising.

    Raises:
        InputError: there are no donors; when called: a donor is unreadable and `skip_unreadable` is False.
    """

    AREA = (0.01, 0.5)
    ASPECT = 10.0

    def __init__(
        self,
        donors: Sequence[Drawing],
        *,
        prob: float,
        read: Callable[[Drawing], np.ndarray] = read_drawing,
        skip_unreadable: bool = False,
    ):
        if not donors:
            raise InputError("INPUT.RPT.ENABLED needs training drawings to take patches from, but there are none")
        self.donors = donors
        self.prob = prob
        self.read = read
        self.skip_unreadable = skip_unreadable

    def __call__(self, image: Image.Image) -> Image.Image:
        if not bernoulli(self.prob):
            return image
        donor = self._read_donor(image.size, image.mode)
        if donor is None:
            return image
        height, width = self._sample_patch_size(image.height, image.width)
        tops, lefts = image.height - height + 1, image.width - width + 1
        from_top, from_left, top, left = (int(torch.randint(high, ())) for high in (tops, lefts, tops, lefts))
        patch = donor.crop((from_left, from_top, from_left + width, from_top + height))
        pasted = image.copy()
        pasted.paste(patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if bernoulli(0.5) else patch, (left, top))
        return pasted

    def _read_donor(self, size: tuple[int, int], mode: str) -> Image.Image | None:
        drawing = self.donors[int(torch.randint(len(self.donors), ()))]
        try:
            page = Image.fromarray(self.read(drawing)).convert(mode)
        except InputError as error:
            if self.skip_unreadable:
                return None
            raise InputError(f"random patch (INPUT.RPT): {error}")
        return page.resize(size, Image.Resampling.BICUBIC)

    def _sample_patch_size(self, height: int, width: int) -> tuple[int, int]:
        area = uniform(*self.AREA) * height * width
        aspect = math.exp(uniform(-1, 1) * math.log(self.ASPECT))
        high, wide = math.sqrt(area * aspect), math.sqrt(area / aspect)
        return min(max(round(high), 1), height), min(max(round(wide), 1), width)
