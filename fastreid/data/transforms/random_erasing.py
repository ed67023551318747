"""A rectangle of the drawing taken away."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid.data.transforms.hash_rng import drawn_seed, hashed
from fastreid.data.transforms.pipeline import chance, uniform


class RandomErasing:
    """With a probability, fill a rectangle of 2 to 33 % of the area, up to 3.3 times as high as wide or as wide as high.

    Source: Zhong et al., Random Erasing Data Augmentation (AAAI 2020), with the reference's numbers.

    Args:
        prob: probability 0..1.
        value: levels 0..255 of the three channels.
        noise: fill with noise instead, any grey level as often as another.
    """

    AREA = (0.02, 0.33)
    ASPECT = 3.3
    TRIES = 10  # rectangles that are tried for one that fits

    def __init__(self, prob: float, *, value: Sequence[float], noise: bool = False):
        self.prob = prob
        self.value = tuple(value)
        self.noise = noise
        # Top, left, height and width in px, and the seed of noise; all 0: nothing is erased.
        self.num_numbers = 5 if noise else 4

    def draw(self, height: int, width: int) -> Sequence[float]:
        rectangle = self._rectangle(height, width)
        return (*rectangle, drawn_seed()) if self.noise else rectangle

    def _rectangle(self, height: int, width: int) -> tuple[int, int, int, int]:
        if not chance(self.prob):
            return 0, 0, 0, 0
        for _ in range(self.TRIES):
            area = uniform(*self.AREA) * height * width
            aspect = math.exp(uniform(-1, 1) * math.log(self.ASPECT))
            high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if high < height and wide < width:
                top, left = (int(torch.randint(most + 1, ())) for most in (height - high, width - wide))
                return top, left, high, wide
        return 0, 0, 0, 0

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        top, left, high, wide, *seed = numbers.unbind(1)
        inside = _within(top, high, images.shape[2])[:, :, None] & _within(left, wide, images.shape[3])[:, None, :]
        if seed:
            levels = hashed(seed[0], salt=0, num=images.shape[2] * images.shape[3]) & 0xFF
            filling = levels.float().view(-1, 1, *images.shape[2:])
        else:
            filling = images.new_tensor(self.value)[:, None, None]
        return torch.where(inside[:, None], filling, images)


def _within(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Bool (B, size): which places lie in a stretch of each line."""
    places = torch.arange(size, device=start.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
