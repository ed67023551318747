"""Blocks that let a channel or a place of a map see the others."""

import torch
from torch import Tensor, nn

from fastreid.layers.norm import NormMaker
from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what all channels' means say. Hu, Shen, Sun: Squeeze-and-excitation networks (2018).

    Args:
        num_channels: C.
        ratio: C / ratio is the width in between.

    Raises:
        InputError: fewer channels than `ratio`.
    """

    def __init__(self, num_channels: int, ratio: int = 16):
        super().__init__()
        if num_channels < ratio:
            raise InputError(f"squeeze-and-excitation with ratio {ratio} needs that many channels, not {num_channels}")
        self.fc = nn.Sequential(
            nn.Linear(num_channels, num_channels // ratio, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(num_channels // ratio, num_channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        weights = self.fc(maps.mean(dim=(2, 3)))
        return maps * weights[..., None, None]


class NonLocal(nn.Module):
    """Adds to each place what all places of the map have to say, weighed by likeness.

    Wang, Girshick, Gupta, He: Non-local neural networks (2018), dot-product form. With N = HW places, likeness
    f = theta^T phi / N and answer y = f g^T. Since there is no softmax in between, y = theta^T (phi g^T) / N: the same
    sum in another order, whose cost grows with N and not with N^2. The block starts as the identity.

    Args:
        num_channels: C.
        width: channels of theta, phi and g. fast-reid's weights have 1; the paper's is C / 2.
        norm: maker of the last norm.

    Raises:
        InputError: a width that is not 1 to C.
    """

    def __init__(self, num_channels: int, width: int = 1, *, norm: NormMaker = nn.BatchNorm2d):
        super().__init__()
        if not 1 <= width <= num_channels:
            raise InputError(f"a non-local block of {num_channels} channels is 1 to {num_channels} wide, not {width}")
        self.g = nn.Conv2d(num_channels, width, 1)
        last = norm(num_channels)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.W = nn.Sequential(nn.Conv2d(width, num_channels, 1), last)
        self.theta = nn.Conv2d(num_channels, width, 1)
        self.phi = nn.Conv2d(num_channels, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        answer = gather_places(self.theta(maps), self.phi(maps), self.g(maps))
        return self.W(answer) + maps


@in_full_precision
def gather_places(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """theta^T (phi g^T) / N over the N places of three maps (B, W, H, W'): a map of the same shape."""
    height, width = theta.shape[2:]
    summary = torch.einsum("bin,bjn->bij", phi.flatten(2), g.flatten(2)) / (height * width)
    return torch.einsum("bin,bij->bjn", theta.flatten(2), summary).unflatten(2, (height, width))
