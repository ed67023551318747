"""Augmentations of the quality of a scan: resolution, bilevel pages and compression."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid.data.transforms.pipeline import bernoulli, uniform
from fastreid.data.transforms.shading import filter_maximum

WHITE = 255.0
BLOCK_PX = 8  # of a JPEG file

# Quantization of luminance at quality 50. Source: ITU-T T.81 (1992), table K.1.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


class LowResolution:
    """Reduce, with a probability, the resolution: pixels of a coarser grid are means, and shown without smoothing.

    Args:
        prob: probability 0..1.
        max_factor: maximum side of a coarse pixel, px of the image, at least 1; the minimum is 1.
    """

    num_params = 1  # side of a coarse pixel in px; 1: no change

    def __init__(self, prob: float, *, max_factor: float):
        self.prob = prob
        self.max_factor = max_factor

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        return [uniform(1, self.max_factor) if bernoulli(self.prob) else 1.0]

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        factor = params[:, 0].double()
        rows = _average_cells(images.double().transpose(2, 3), factor).transpose(2, 3)
        return _average_cells(rows, factor).float().clamp(0, WHITE)


class Bilevel:
    """Make, with a probability, each pixel black or white, as a bilevel scan does.

    The threshold is a ratio of the range of levels within 5 x 5 px (Bernsen 1986), so thin lines, which are gray at the
    size of the network, become black and are not lost. Where the range is small, it is the same ratio of all levels.
    Each channel of a page with color is processed separately.

    Args:
        prob: probability 0..1.
        weight: weight 0..1 of the result; the rest is the page.
        spread: maximum distance of the ratio from 0.5, below 0.5.
    """

    MIN_RANGE = 32.0

    num_params = 1  # threshold as a ratio from white to black; 0: no change

    def __init__(self, prob: float, *, weight: float, spread: float):
        self.prob = prob
        self.weight = weight
        self.spread = spread

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        return [uniform(0.5 - self.spread, 0.5 + self.spread) if bernoulli(self.prob) else 0.0]

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        ratio = params[:, 0, None, None, None]
        lightest, darkest = filter_maximum(images, 5), -filter_maximum(-images, 5)
        value_range = lightest - darkest
        is_uniform = value_range < self.MIN_RANGE
        threshold = torch.where(is_uniform, WHITE - ratio * WHITE, lightest - ratio * value_range)
        bilevel = torch.where(images > threshold, WHITE, 0.0)
        return images + self.weight * (ratio > 0).float() * (bilevel - images)


class JpegCompression:
    """Compress a drawing, with a probability, as a gray JPEG file and decode it again.

    Each channel is compressed like luminance, with the quantization of libjpeg for the quality.

    Args:
        prob: probability 0..1.
        min_quality: minimum quality, 1..95; the maximum is 95.
    """

    MAX_QUALITY = 95

    num_params = 1  # quality; 0: no change

    def __init__(self, prob: float, *, min_quality: float):
        self.prob = prob
        self.min_quality = min_quality

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        return [round(uniform(self.min_quality, self.MAX_QUALITY)) if bernoulli(self.prob) else 0]

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        height, width = images.shape[2:]
        padding = (0, -width % BLOCK_PX, 0, -height % BLOCK_PX)
        # float64: a coefficient between two steps would otherwise depend on the rounding of a device.
        levels = F.pad(images.double(), padding, mode="replicate").round() - 128
        rows, columns = levels.shape[2] // BLOCK_PX, levels.shape[3] // BLOCK_PX
        blocks = levels.reshape(*levels.shape[:2], rows, BLOCK_PX, columns, BLOCK_PX).transpose(3, 4)
        cosines = _make_cosine_transform(images.device)
        step = _scale_quantization(params[:, 0])[:, None, None, None]
        coefficients = (cosines @ blocks @ cosines.T / step).round() * step
        decoded = (cosines.T @ coefficients @ cosines).transpose(3, 4).flatten(4, 5).flatten(2, 3)
        decoded = (decoded + 128).round().clamp(0, WHITE)[:, :, :height, :width].float()
        return torch.where(params[:, 0, None, None, None] > 0, decoded, images)


def _average_cells(images: Tensor, factor: Tensor) -> Tensor:
    """Replace each pixel of the last axis by the mean of the coarse pixel that contains its center.

    Args:
        images: float64 (B, C, H, W).
        factor: float64 (B,), width of a coarse pixel in px, at least 1. The last one ends with the image.
    """
    width = images.shape[3]
    cells = ((torch.arange(width, device=images.device) + 0.5) / factor[:, None]).floor()
    starts = cells * factor[:, None]
    ends = (starts + factor[:, None]).clamp(max=width)
    sums = F.pad(images.cumsum(dim=3), (1, 0))
    total = _interpolate(sums, ends) - _interpolate(sums, starts)
    return total / (ends - starts)[:, None, None]


def _interpolate(sums: Tensor, positions: Tensor) -> Tensor:
    """Return the sums (B, C, H, W + 1) at positions (B, W) between whole pixels."""
    left = positions.floor().long()
    right = (left + 1).clamp(max=sums.shape[3] - 1)
    ratio = (positions - left)[:, None, None]
    shape = (*sums.shape[:3], positions.shape[1])
    lower, upper = (sums.gather(3, index[:, None, None].expand(shape)) for index in (left, right))
    return lower + ratio * (upper - lower)


def _make_cosine_transform(device: torch.device) -> Tensor:
    """Return the orthogonal matrix (8, 8) of the discrete cosine transform, float64."""
    index = torch.arange(BLOCK_PX, dtype=torch.float64, device=device)
    matrix = (math.pi / BLOCK_PX * index[:, None] * (index + 0.5)).cos() / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _scale_quantization(quality: Tensor) -> Tensor:
    """Return libjpeg's steps (B, 8, 8) for a quality (B,) of 1 to 100, float64."""
    quality = quality.double().clamp(min=1)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None]
    table = torch.tensor(LUMINANCE, dtype=torch.float64, device=quality.device)
    return ((table * percent + 50) / 100).floor().clamp(1, 255)
