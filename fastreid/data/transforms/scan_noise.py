"""Simulated scanner artifacts: gray noise and dust."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid.data.transforms.hash_rng import hash_bits, sample_seed, square_mask, to_unit_float
from fastreid.data.transforms.pipeline import bernoulli, uniform


class ScanNoise:
    """Add, with a probability, noise to all pixels and specks of ink and of white.

    The noise is approximately normal (sum of four uniform samples), with a standard deviation sampled between 0 and the
    maximum; results are clamped to 0..255. Half of the specks are ink, half are white; they are squares of 1 to 3 px.

    Args:
        prob: probability 0..1.
        noise: maximum standard deviation in gray levels.
        dust: maximum number of specks per drawing.
    """

    INK, WHITE = 0.0, 255.0
    MAX_SPECK_PX = 3

    num_params = 3  # seed, standard deviation in gray levels, number of specks; all 0: no change

    def __init__(self, prob: float, *, noise: float, dust: int):
        self.prob = prob
        self.noise = noise
        self.dust = dust

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        if not bernoulli(self.prob):
            return 0, 0, 0
        return sample_seed(), uniform(0, self.noise), int(torch.randint(self.dust + 1, ()))

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        seed, deviation, num = params.unbind(1)
        height, width = images.shape[2:]
        noise = _approximately_normal(hash_bits(seed, salt=0, num=height * width)).view(-1, 1, height, width)
        images = (images + deviation[:, None, None, None] * noise).clamp(self.INK, self.WHITE)
        row, column, size, color = (to_unit_float(hash_bits(seed, salt=salt, num=self.dust)) for salt in range(1, 5))
        is_present = torch.arange(self.dust, device=images.device) < num[:, None]
        for level, is_chosen in ((self.INK, color < 0.5), (self.WHITE, color >= 0.5)):
            specks = square_mask(
                row * (height - 1),
                column * (width - 1),
                size * self.MAX_SPECK_PX / 2,
                is_present=is_present & is_chosen,
                height=height,
                width=width,
            )
            images = images.masked_fill(specks, level)
        return images


def _approximately_normal(bits: Tensor) -> Tensor:
    """Return float32 values with mean 0 and deviation 1 from the four bytes of each 32-bit integer."""
    total: Tensor = sum(((bits >> shift) & 0xFF for shift in (8, 16, 24)), bits & 0xFF)
    deviation = math.sqrt(4 * (2**16 - 1) / 12)
    return (total.float() - 2 * 255) / deviation
