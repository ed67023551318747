"""Random erasing of a rectangle."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid.data.transforms.hash_rng import hash_bits, sample_seed
from fastreid.data.transforms.pipeline import bernoulli, uniform


class RandomErasing:
    """Fill, with a probability, a rectangle of 2 to 33 % of the area and an aspect ratio of up to 3.3.

    Source: Zhong et al., Random Erasing Data Augmentation (AAAI 2020), with the parameters of the paper.

    Args:
        prob: probability 0..1.
        value: levels 0..255 of the three channels.
        noise: fill with uniformly distributed gray levels instead.
    """

    AREA = (0.02, 0.33)
    ASPECT = 3.3
    MAX_TRIES = 10  # sampled rectangles until one fits into the image

    def __init__(self, prob: float, *, value: Sequence[float], noise: bool = False):
        self.prob = prob
        self.value = tuple(value)
        self.noise = noise
        # Top, left, height, width in px, and the seed of the noise; all 0: no change.
        self.num_params = 5 if noise else 4

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        rectangle = self._sample_rectangle(height, width)
        return (*rectangle, sample_seed()) if self.noise else rectangle

    def _sample_rectangle(self, height: int, width: int) -> tuple[int, int, int, int]:
        if not bernoulli(self.prob):
            return 0, 0, 0, 0
        for _ in range(self.MAX_TRIES):
            area = uniform(*self.AREA) * height * width
            aspect = math.exp(uniform(-1, 1) * math.log(self.ASPECT))
            high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if high < height and wide < width:
                top, left = (int(torch.randint(limit + 1, ())) for limit in (height - high, width - wide))
                return top, left, high, wide
        return 0, 0, 0, 0

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        top, left, high, wide, *seed = params.unbind(1)
        inside = (
            _interval_mask(top, high, images.shape[2])[:, :, None]
            & _interval_mask(left, wide, images.shape[3])[:, None, :]
        )
        if seed:
            levels = hash_bits(seed[0], salt=0, num=images.shape[2] * images.shape[3]) & 0xFF
            filling = levels.float().view(-1, 1, *images.shape[2:])
        else:
            filling = images.new_tensor(self.value)[:, None, None]
        return torch.where(inside[:, None], filling, images)


def _interval_mask(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return the mask of one interval per row, bool (B, size)."""
    positions = torch.arange(size, device=start.device)
    return (positions >= start[:, None]) & (positions < (start + length)[:, None])
