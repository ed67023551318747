"""A drawing turned, slanted, scaled or bent as a whole, each by reading its pixels from elsewhere."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from fastreid.data.transforms.pipeline import chance, uniform


class Warp:
    """With a probability, rotate, shear and scale about the centre, with bilinear reading.

    Args:
        prob: probability 0..1.
        rotate: largest angle, degrees, either way.
        shear: largest slant of the upright lines, degrees, either way.
        scale: least and most; above 1 the drawing grows.
        fill: grey level 0..255 from outside the page.
    """

    num_numbers = 4  # the matrix from a place in the result to its source, row by row, the half sides as unit
    SAME = (1.0, 0.0, 0.0, 1.0)

    def __init__(self, prob: float, *, rotate: float, shear: float, scale: Sequence[float], fill: float):
        self.prob = prob
        self.rotate = rotate
        self.shear = shear
        self.scale = tuple(scale)
        self.fill = fill

    def draw(self, height: int, width: int) -> Sequence[float]:
        if not chance(self.prob):
            return self.SAME
        angle = math.radians(uniform(-self.rotate, self.rotate))
        slant = math.tan(math.radians(uniform(-self.shear, self.shear)))
        scale = math.exp(uniform(*map(math.log, self.scale)))
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        # Back through the rotation and the scale, then through the slant x + slant * y.
        from_x, from_y = (cos + slant * sin, sin - slant * cos), (-sin, cos)
        return from_x[0], from_x[1] * height / width, from_y[0] * width / height, from_y[1]

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        x, y = _places(images)
        xx, xy, yx, yy = numbers[:, :, None, None].unbind(1)
        # Products of single numbers and not of matrices, which some devices round to 10 bits.
        warped = _read(images, xx * x + xy * y, yx * x + yy * y, fill=self.fill)
        same = (numbers == numbers.new_tensor(self.SAME)).all(1)
        return torch.where(same[:, None, None, None], images, warped)


class ElasticBend:
    """With a probability, bend the page smoothly: a cubic B-spline over a coarse grid of drawn shifts.

    With a shift of up to 1/12 it can never fold: neighbours keep their order.

    Args:
        prob: probability 0..1.
        shift: farthest that a pixel moves, as a share of the height and of the width.
        fill: grey level 0..255 from outside the page.
    """

    KNOTS = 6  # on each axis: three stretches of the page and what a cubic spline needs around them

    num_numbers = 2 * KNOTS**2  # shifts across and down at each knot, as shares of the side; all 0: nothing changes

    def __init__(self, prob: float, *, shift: float, fill: float):
        self.prob = prob
        self.shift = shift
        self.fill = fill

    def draw(self, height: int, width: int) -> Sequence[float]:
        if not chance(self.prob):
            return [0.0] * self.num_numbers
        return (self.shift * (2 * torch.rand(self.num_numbers) - 1)).tolist()

    def apply(self, images: Tensor, numbers: Tensor) -> Tensor:
        height, width = images.shape[2:]
        knots = numbers.view(-1, 2, self.KNOTS, self.KNOTS)
        down, across = (_spline_weights(size, self.KNOTS, device=images.device) for size in (height, width))
        # Knot by knot and not as a product of matrices, which some devices round to 10 bits.
        lines = torch.stack([down[k][:, None] * knots[:, :, k, None] for k in range(self.KNOTS)]).sum(0)
        shift = torch.stack([lines[..., k, None] * across[k] for k in range(self.KNOTS)]).sum(0)
        x, y = _places(images)
        bent = _read(images, x + 2 * shift[:, 0], y + 2 * shift[:, 1], fill=self.fill)
        return torch.where((numbers == 0).all(1)[:, None, None, None], images, bent)


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Where the middles of the columns (1, W) and rows (H, 1) lie, from -1 to 1 across the page."""
    height, width = images.shape[2:]
    y, x = ((2 * torch.arange(size, device=images.device) + 1) / size - 1 for size in (height, width))
    return x[None, :], y[:, None]


def _read(images: Tensor, x: Tensor, y: Tensor, *, fill: float) -> Tensor:
    """The images at places (B, H, W), with `fill` outside; a page of that level stays so to the last bit."""
    places = torch.stack(torch.broadcast_tensors(x, y), dim=-1)
    read = F.grid_sample(images - fill, places, padding_mode="zeros", align_corners=False) + fill
    return read.clamp(0, 255)  # rounding may end a hair outside


def _spline_weights(size: int, num_knots: int, *, device: torch.device) -> Tensor:
    """float32 (num_knots, size): the weight of each knot at each pixel; they are 0 or more and sum to 1."""
    at = (torch.arange(size, device=device) + 0.5) / size * (num_knots - 3) + 1
    far = (at - torch.arange(num_knots, device=device)[:, None]).abs()
    return torch.where(far < 1, 2 / 3 - far**2 + far**3 / 2, (2 - far).clamp(min=0) ** 3 / 6)
