"""What a scanner adds: grey noise and dust."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid.data.transforms.hash_rng import drawn_seed, hashed, shares, squares
from fastreid.data.transforms.pipeline import chance, uniform


class ScanNoise:
    """With a probability, add noise to every level and specks of ink and of white.

    Noise is nearly normal (the sum of four even draws) with a deviation drawn from 0 to the largest, and cut at 0 and
    255. Half of the specks are ink, half are white; they are squares of 1 to 3 px.

    Args:
        prob: probability 0..1.
        noise: largest standard deviation, grey levels.
        dust: most specks of a drawing.
    """

    INK, WHITE = 0.0, 255.0
    SPECK_PX = 3

    num_numbers = 3  # seed, standard deviation in levels and number of specks; all 0: nothing changes

    def __init__(self, prob: float, *, noise: float, dust: int):
        self.prob = prob
        self.noise = noise
        self.dust = dust

    def draw(self, height: int, width: int) -> Sequence[float]:
        if not chance(self.prob):
            return 0, 0, 0
        return drawn_seed(), uniform(0, self.noise), int(torch.randint(self.dust + 1, ()))

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        seed, deviation, num = numbers.unbind(1)
        height, width = images.shape[2:]
        noise = _nearly_normal(hashed(seed, salt=0, num=height * width)).view(-1, 1, height, width)
        images = (images + deviation[:, None, None, None] * noise).clamp(self.INK, self.WHITE)
        row, column, size, white = (shares(hashed(seed, salt=salt, num=self.dust)) for salt in range(1, 5))
        there = torch.arange(self.dust, device=images.device) < num[:, None]
        for level, chosen in ((self.INK, white < 0.5), (self.WHITE, white >= 0.5)):
            specks = squares(
                row * (height - 1),
                column * (width - 1),
                size * self.SPECK_PX / 2,
                there=there & chosen,
                height=height,
                width=width,
            )
            images = images.masked_fill(specks, level)
        return images


def _nearly_normal(bits: Tensor) -> Tensor:
    """float32 of mean 0 and deviation 1 from the four bytes of each 32-bit number."""
    total = sum(((bits >> shift) & 0xFF for shift in (8, 16, 24)), bits & 0xFF)
    return (total.float() - 2 * 255) / (4 * (2**16 - 1) / 12) ** 0.5
