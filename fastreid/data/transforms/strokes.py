"""Lines of another hand: thicker, thinner, broken."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid.data.transforms.hash_rng import drawn_seed, hashed, shares, squares
from fastreid.data.transforms.pipeline import chance, uniform

WHITE = 255.0


class StrokeWidth:
    """With a probability, make all lines of a drawing thicker or thinner by the same length.

    The length is drawn evenly between the most that is taken away and the most that is added. A line grows by the
    darkest level around each pixel and shrinks by the lightest, 1 px on each side at a time, with a fraction of the
    last step; slanting lines change by up to 1.4 times as much. Thinning never wipes a line out: one of 1 or 2 px,
    which has no pixel that would stay, is made paler instead of narrower, to half its ink at most.

    Args:
        prob: probability 0..1.
        thicken_px: largest growth of a line's width, px of the image.
        thin_px: largest loss of a line's width, 0..2 px of the image.
    """

    MOST_PALE = 0.5  # share of a thin line's ink that thinning may take

    num_numbers = 1  # px added to a line's width; below 0: taken away; 0: nothing changes

    def __init__(self, prob: float, *, thicken_px: float, thin_px: float):
        self.prob = prob
        self.thicken_px = thicken_px
        self.thin_px = thin_px

    def draw(self, height: int, width: int) -> Sequence[float]:
        return [uniform(-self.thin_px, self.thicken_px) if chance(self.prob) else 0.0]

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        growth = numbers[:, 0, None, None, None] / 2  # on each side
        thicker = dark = images
        for side_px in range(math.ceil(self.thicken_px / 2)):
            darker = _darkest(dark)
            thicker = thicker + (growth - side_px).clamp(0, 1) * (darker - dark)
            dark = darker
        return thicker if not self.thin_px else torch.where(growth < 0, self._thinner(images, -growth), thicker)

    def _thinner(self, images: Tensor, loss: Tensor) -> Tensor:
        lighter = _lightest(images)
        vanishing = _darkest(lighter) - images  # what growing again would not bring back
        return torch.minimum(images + loss * (lighter - images), lighter - (1 - self.MOST_PALE) * vanishing)


class Breaks:
    """With a probability, break lines: up to so many small white squares, where the ink is.

    Each place is taken with a probability in proportion to its ink, so a blank page stays as it is.

    Args:
        prob: probability 0..1.
        num: most breaks of a drawing; at least one is made.
        size: largest side of a break, as a share of the image's shorter side; the smallest is half of it, and 1 px.
    """

    num_numbers = 3  # seed, number of breaks (0: none) and their side as a share of the shorter side

    def __init__(self, prob: float, *, num: int, size: float):
        self.prob = prob
        self.num = num
        self.size = size

    def draw(self, height: int, width: int) -> Sequence[float]:
        if not chance(self.prob):
            return 0, 0, 0
        return drawn_seed(), 1 + int(torch.randint(self.num, ())), uniform(self.size / 2, self.size)

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        seed, num, size = numbers.unbind(1)
        height, width = images.shape[2:]
        ink = (WHITE - images[:, 0]).clamp(min=0).flatten(1)
        # The first of exponential waiting times: a draw without repeats, in proportion to the ink.
        waiting = -shares(hashed(seed, salt=0, num=height * width)).log() / ink
        most = min(self.num, height * width)
        places = waiting.topk(most, largest=False).indices
        there = torch.arange(most, device=images.device) < num[:, None]
        half = (size * min(height, width) / 2)[:, None].expand(-1, most)
        rows, columns = (places // width).float(), (places % width).float()
        broken = squares(rows, columns, half, there=there & (ink.gather(1, places) > 0), height=height, width=width)
        return images.masked_fill(broken, WHITE)


def _lightest(images: Tensor) -> Tensor:
    """The lightest level within a pixel of each, on all sides."""
    return F.max_pool2d(F.max_pool2d(images, (3, 1), 1, (1, 0)), (1, 3), 1, (0, 1))


def _darkest(images: Tensor) -> Tensor:
    return -_lightest(-images)
