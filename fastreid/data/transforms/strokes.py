"""Augmentations of the strokes of a drawing: line width and gaps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid.data.transforms.hash_rng import hash_bits, sample_seed, square_mask, to_unit_float
from fastreid.data.transforms.pipeline import bernoulli, uniform

WHITE = 255.0


class StrokeWidth:
    """Make all lines of a drawing, with a probability, thicker or thinner by the same width.

    The change is sampled uniformly between -thin_px and thicken_px. Lines grow by a minimum filter (darkest neighbor)
    and shrink by a maximum filter, 1 px per side at a time; the last step is interpolated. Diagonal lines change by up
    to 1.4 times as much. Thinning never erases a line: a line of 1 or 2 px, of which no pixel would remain, becomes
    lighter instead of thinner and keeps at least half of its ink. Each channel of a page with color is changed by the
    same width.

    Args:
        prob: probability 0..1.
        thicken_px: maximum increase of the line width, px of the image.
        thin_px: maximum decrease of the line width, 0..2 px of the image.
    """

    MAX_FADE = 0.5  # maximum ratio of ink that a thin line loses

    num_params = 1  # change of the line width in px; 0: no change

    def __init__(self, prob: float, *, thicken_px: float, thin_px: float):
        self.prob = prob
        self.thicken_px = thicken_px
        self.thin_px = thin_px

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        return [uniform(-self.thin_px, self.thicken_px) if bernoulli(self.prob) else 0.0]

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        growth = params[:, 0, None, None, None] / 2  # per side
        thicker = dark = images
        for side_px in range(math.ceil(self.thicken_px / 2)):
            darker = _min_filter(dark)
            thicker = thicker + (growth - side_px).clamp(0, 1) * (darker - dark)
            dark = darker
        return thicker if not self.thin_px else torch.where(growth < 0, self._thin(images, -growth), thicker)

    def _thin(self, images: Tensor, loss: Tensor) -> Tensor:
        lighter = _max_filter(images)
        vanishing = _min_filter(lighter) - images  # ink that a dilation would not restore
        return torch.minimum(images + loss * (lighter - images), lighter - (1 - self.MAX_FADE) * vanishing)


class StrokeGaps:
    """Interrupt lines, with a probability, by small white squares centered on ink.

    The centers are sampled with a probability proportional to the ink, so a blank page is unchanged.

    Args:
        prob: probability 0..1.
        num: maximum number of gaps per drawing; the minimum is 1.
        size: maximum side of a gap as a ratio of the shorter side of the image; the minimum is half of it, at least
            1 px.
    """

    num_params = 3  # seed, number of gaps (0: no change), their side as a ratio of the shorter side

    def __init__(self, prob: float, *, num: int, size: float):
        self.prob = prob
        self.num = num
        self.size = size

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        if not bernoulli(self.prob):
            return 0, 0, 0
        return sample_seed(), 1 + int(torch.randint(self.num, ())), uniform(self.size / 2, self.size)

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        seed, num, size = params.unbind(1)
        height, width = images.shape[2:]
        levels = images[:, 0] if images.shape[1] == 1 else images.mean(dim=1)
        ink = (WHITE - levels).clamp(min=0).flatten(1)
        # Smallest exponential variates: weighted sampling without replacement (Efraimidis and Spirakis, 2006).
        variates = -to_unit_float(hash_bits(seed, salt=0, num=height * width)).log() / ink
        max_num = min(self.num, height * width)
        pixels = variates.topk(max_num, largest=False).indices
        is_present = (torch.arange(max_num, device=images.device) < num[:, None]) & (ink.gather(1, pixels) > 0)
        half_side = (size * min(height, width) / 2)[:, None].expand(-1, max_num)
        rows, columns = (pixels // width).float(), (pixels % width).float()
        gaps = square_mask(rows, columns, half_side, is_present=is_present, height=height, width=width)
        return images.masked_fill(gaps, WHITE)


def _max_filter(images: Tensor) -> Tensor:
    """Return the lightest level in the 3 x 3 neighborhood of each pixel."""
    return F.max_pool2d(F.max_pool2d(images, (3, 1), 1, (1, 0)), (1, 3), 1, (0, 1))


def _min_filter(images: Tensor) -> Tensor:
    return -_max_filter(-images)
