"""Geometric augmentations: affine warp and elastic deformation, by resampling."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid.data.transforms.pipeline import bernoulli, uniform


class Warp:
    """Rotate, shear and scale a page, with a probability, about its center (bilinear interpolation).

    Args:
        prob: probability 0..1.
        rotate: maximum angle in degrees, in both directions.
        shear: maximum shear of vertical lines in degrees, in both directions.
        scale: (minimum, maximum); above 1 the drawing is enlarged.
        fill: gray level 0..255 of pixels from outside the page.
    """

    num_params = 4  # 2 x 2 matrix from output to input coordinates, row-major, in units of the half sides
    IDENTITY = (1.0, 0.0, 0.0, 1.0)

    def __init__(self, prob: float, *, rotate: float, shear: float, scale: Sequence[float], fill: float):
        self.prob = prob
        self.rotate = rotate
        self.shear = shear
        self.scale = tuple(scale)
        self.fill = fill

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        if not bernoulli(self.prob):
            return self.IDENTITY
        angle = math.radians(uniform(-self.rotate, self.rotate))
        shear = math.tan(math.radians(uniform(-self.shear, self.shear)))
        scale = math.exp(uniform(*map(math.log, self.scale)))
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        # Inverse of the rotation and the scale, then of the shear x + shear * y.
        from_x, from_y = (cos + shear * sin, sin - shear * cos), (-sin, cos)
        return from_x[0], from_x[1] * height / width, from_y[0] * width / height, from_y[1]

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        x, y = _pixel_grid(images)
        xx, xy, yx, yy = params[:, :, None, None].unbind(1)
        # Elementwise products, as some devices round matrix products to 10 bits (TF32).
        warped = _resample(images, xx * x + xy * y, yx * x + yy * y, fill=self.fill)
        is_identity = (params == params.new_tensor(self.IDENTITY)).all(1)
        return torch.where(is_identity[:, None, None, None], images, warped)


class ElasticDeformation:
    """Deform a page smoothly, with a probability, by a cubic B-spline over a coarse grid of sampled shifts.

    With a shift of up to 1/12 the page cannot fold: neighboring pixels keep their order.

    Args:
        prob: probability 0..1.
        shift: maximum displacement of a pixel as a ratio of the height and of the width.
        fill: gray level 0..255 of pixels from outside the page.
    """

    KNOTS = 6  # per axis: three spline segments on the page and the border knots of a cubic spline

    num_params = 2 * KNOTS**2  # x and y shift per knot as ratios of the side; all 0: no change

    def __init__(self, prob: float, *, shift: float, fill: float):
        self.prob = prob
        self.shift = shift
        self.fill = fill

    def sample_params(self, height: int, width: int) -> Sequence[float]:
        if not bernoulli(self.prob):
            return [0.0] * self.num_params
        return (self.shift * (2 * torch.rand(self.num_params) - 1)).tolist()

    def apply(self, images: Tensor, params: Tensor) -> Tensor:
        height, width = images.shape[2:]
        knots = params.view(-1, 2, self.KNOTS, self.KNOTS)
        down, across = (_spline_weights(size, self.KNOTS, device=images.device) for size in (height, width))
        # Sum over knots, as some devices round matrix products to 10 bits (TF32).
        lines = torch.stack([down[k][:, None] * knots[:, :, k, None] for k in range(self.KNOTS)]).sum(0)
        shift = torch.stack([lines[..., k, None] * across[k] for k in range(self.KNOTS)]).sum(0)
        x, y = _pixel_grid(images)
        deformed = _resample(images, x + 2 * shift[:, 0], y + 2 * shift[:, 1], fill=self.fill)
        return torch.where((params == 0).all(1)[:, None, None, None], images, deformed)


def _pixel_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the x (1, W) and y (H, 1) coordinates of the pixel centers, -1 to 1 across the page."""
    height, width = images.shape[2:]
    y, x = ((2 * torch.arange(size, device=images.device) + 1) / size - 1 for size in (height, width))
    return x[None, :], y[:, None]


def _resample(images: Tensor, x: Tensor, y: Tensor, *, fill: float) -> Tensor:
    """Sample images at coordinates x and y, (B, H, W) each, with `fill` outside.

    A page of that level is unchanged bit by bit.
    """
    grid = torch.stack((x, y), dim=-1)
    sampled = F.grid_sample(images - fill, grid, padding_mode="zeros", align_corners=False) + fill
    return sampled.clamp(0, 255)  # rounding may exceed the range slightly


def _spline_weights(size: int, num_knots: int, *, device: torch.device) -> Tensor:
    """Return the nonnegative weight of each knot at each pixel, float32 (num_knots, size); columns sum to 1."""
    position = (torch.arange(size, device=device) + 0.5) / size * (num_knots - 3) + 1
    distance = (position - torch.arange(num_knots, device=device)[:, None]).abs()
    return torch.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, (2 - distance).clamp(min=0) ** 3 / 6)
