"""Augmentations of the shading of a drawing: hatching becomes gray, gray becomes lines or dots."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid.data.transforms.pipeline import bernoulli, uniform

WHITE = 255.0
BAYER_PX = 8  # period of the pattern of dispersed dots


class Descreen:
    """Replace, with a probability, hatching and dots by the gray that they stand for.

    An area is shading if strokes are so dense that a closing with 5 x 5 px fills most of it; there, pixels are replaced
    by the mean of their neighborhood of 9 x 9 px with triangular weights. Single lines stay as they are.

    Args:
        prob: probability 0..1.
        weight: maximum weight 0..1 of the result; the minimum is half of it, the rest is the page.
    """

    CLOSING_PX = 5
    MIN_GAPS, MAX_GAPS = (
        0.25,
        0.5,
    )  # ratio of filled gaps at which the replacement begins, and from which it is complete

    num_params = 1  # weight; 0: no change

    def __init__(self, prob: float, *, weight: float):
        self.prob = prob
        self.weight = weight

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        return [uniform(self.weight / 2, self.weight) if bernoulli(self.prob) else 0.0]

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        levels = images if images.shape[1] == 1 else images.mean(dim=1, keepdim=True)
        darkest = -filter_maximum(-levels, self.CLOSING_PX)
        closed = filter_maximum(darkest, self.CLOSING_PX)
        gaps = _mean(_mean((levels - closed) / WHITE, 5), 5)
        is_shading = ((gaps - self.MIN_GAPS) / (self.MAX_GAPS - self.MIN_GAPS)).clamp(0, 1)
        gray = _mean(_mean(images, 5), 5)
        return (images + params[:, 0, None, None, None] * is_shading * (gray - images)).clamp(0, WHITE)


class Screen:
    """Replace, with a probability, gray by black lines or dots, as in printing.

    Only areas of at least 5 x 5 px that are darker than 240 change; thin lines, which are gray at the size of the
    network, stay. A pixel of an area becomes black or white by a threshold that is a periodic function of its position:
    parallel lines (hatching), dots in a square grid (halftone), or the ordered dither of Bayer (1973) with 8 x 8
    thresholds. Thresholds are between 0.1 and 0.9 of white, those of Bayer between 0 and 1, so black and white stay.
    Each channel of a page with color gets the same pattern.

    Args:
        prob: probability 0..1.
        weight: weight 0..1 of the result; the rest is the page.
        period_px: minimum and maximum distance of lines and dots, px of the image.
    """

    LINES, DOTS, BAYER = 1, 2, 3
    AREA_PX, AREA_LEVEL = 5, 240.0

    num_params = 5  # kind (0: no change), angle in radians, period in px, shift of the pattern in px: x and y

    def __init__(self, prob: float, *, weight: float, period_px: tuple[float, float] = (2.5, 6.0)):
        self.prob = prob
        self.weight = weight
        self.period_px = period_px

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        if not bernoulli(self.prob):
            return 0, 0, 1, 0, 0
        kind = 1 + int(torch.randint(3, ()))
        shift_x, shift_y = (int(torch.randint(BAYER_PX, ())) for _ in range(2))
        return kind, uniform(0, torch.pi), uniform(*self.period_px), shift_x, shift_y

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        # float64: a level that equals its threshold would otherwise depend on the rounding of a device.
        kind, angle, period, shift_x, shift_y = params.double()[:, :, None, None].unbind(1)
        height, width = images.shape[2:]
        rows = torch.arange(height, device=images.device)[None, :, None] + shift_y
        columns = torch.arange(width, device=images.device)[None, None, :] + shift_x
        across = _triangle_wave((columns * angle.cos() + rows * angle.sin()) / period)
        along = _triangle_wave((rows * angle.cos() - columns * angle.sin()) / period)
        bayer = make_bayer_matrix(images.device)[rows.long() % BAYER_PX, columns.long() % BAYER_PX]
        threshold = torch.where(kind == self.DOTS, 0.1 + 0.4 * (across + along), 0.1 + 0.8 * across)
        threshold = WHITE * torch.where(kind == self.BAYER, bayer, threshold)
        is_area = -filter_maximum(-filter_maximum(images, self.AREA_PX), self.AREA_PX) < self.AREA_LEVEL
        screened = torch.where(images.double() > threshold[:, None], WHITE, 0.0)
        screened = torch.where(is_area, screened, images.double()).float()
        weight = self.weight * (kind[:, None] > 0).float()
        return images + weight * (screened - images)


def make_bayer_matrix(device: torch.device | None = None) -> Tensor:
    """Return the thresholds (8, 8) of Bayer's ordered dither, 0.5 / 64 to 63.5 / 64, float64."""
    ranks = torch.zeros(1, 1, dtype=torch.float64, device=device)
    while len(ranks) < BAYER_PX:
        ranks = torch.cat([torch.cat([4 * ranks, 4 * ranks + 2], 1), torch.cat([4 * ranks + 3, 4 * ranks + 1], 1)])
    return (ranks + 0.5) / BAYER_PX**2


def _triangle_wave(phase: Tensor) -> Tensor:
    """Return values from 0 to 1 and back with period 1."""
    return 1 - (2 * (phase - phase.floor()) - 1).abs()


def filter_maximum(images: Tensor, size_px: int) -> Tensor:
    """Return the lightest level in the neighborhood of size_px x size_px of each pixel; the size is odd."""
    half = size_px // 2
    return F.max_pool2d(F.max_pool2d(images, (size_px, 1), 1, (half, 0)), (1, size_px), 1, (0, half))


def _mean(images: Tensor, size_px: int) -> Tensor:
    """Return the mean of each neighborhood of size_px x size_px, without the pixels outside the image."""
    half = size_px // 2
    rows = F.avg_pool2d(images, (size_px, 1), 1, (half, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size_px), 1, (0, half), count_include_pad=False)
