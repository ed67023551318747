"""A rectangle of the drawing taken away."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid.data.transforms.page import chance, uniform


class RandomErasing:
    """With a probability, fill a rectangle of 2 to 33 % of the area, up to 3.3 times as high as wide or as wide as high.

    Source: Zhong et al., Random Erasing Data Augmentation (AAAI 2020), with the reference's numbers.

    Args:
        prob: probability 0..1.
        value: levels 0..255 of the three channels.
    """

    AREA = (0.02, 0.33)
    ASPECT = 3.3
    TRIES = 10  # rectangles that are tried for one that fits

    num_numbers = 4  # top, left, height and width in px; all 0: nothing is erased

    def __init__(self, prob: float, *, value: Sequence[float]):
        self.prob = prob
        self.value = tuple(value)

    def draw(self, height: int, width: int) -> Sequence[float]:
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
        top, left, high, wide = numbers.unbind(1)
        inside = _within(top, high, images.shape[2])[:, :, None] & _within(left, wide, images.shape[3])[:, None, :]
        return torch.where(inside[:, None], images.new_tensor(self.value)[:, None, None], images)


def _within(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Bool (B, size): which places lie in a stretch of each line."""
    places = torch.arange(size, device=start.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
