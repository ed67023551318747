"""Attention blocks: squeeze-and-excitation (channels) and non-local (positions)."""

import torch
from torch import Tensor, nn

from fastreid.layers.norm import NormFactory
from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError


class SqueezeExcitation(nn.Module):
    """Scale each channel by a weight computed from the channel means.

    Hu, Shen, Sun: Squeeze-and-excitation networks (2018).

    Args:
        num_channels: C.
        ratio: reduction ratio; the hidden layer has C / ratio units.

    Raises:
        InputError: there are fewer channels than `ratio`.
    """

    def __init__(self, num_channels: int, ratio: int = 16):
        super().__init__()
        if num_channels < ratio:
            raise InputError(
                f"squeeze-and-excitation with ratio {ratio} needs at least {ratio} channels, not {num_channels}"
            )
        self.fc = nn.Sequential(
            nn.Linear(num_channels, num_channels // ratio, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(num_channels // ratio, num_channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        weights: Tensor = self.fc(maps.mean(dim=(2, 3)))
        return maps * weights[..., None, None]


class NonLocal(nn.Module):
    """Add to each position of a feature map a similarity-weighted sum over all positions.

    Wang, Girshick, Gupta, He: Non-local neural networks (2018), dot-product version. With N = HW positions, the
    similarity is f = theta^T phi / N and the output y = f g^T. As there is no softmax, y = theta^T (phi g^T) / N is the
    same sum in another order, with a cost linear in N instead of quadratic. The block is initialized as the identity.

    Args:
        num_channels: C.
        width: channels of theta, phi and g. fast-reid's checkpoints use 1, the paper C / 2.
        norm: factory of the last norm.

    Raises:
        InputError: the width is not between 1 and C.
    """

    def __init__(self, num_channels: int, width: int = 1, *, norm: NormFactory = nn.BatchNorm2d):
        super().__init__()
        if not 1 <= width <= num_channels:
            raise InputError(
                f"a non-local block of {num_channels} channels needs a width of 1 to {num_channels}, not {width}"
            )
        self.g = nn.Conv2d(num_channels, width, 1)
        last = norm(num_channels)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.W = nn.Sequential(nn.Conv2d(width, num_channels, 1), last)
        self.theta = nn.Conv2d(num_channels, width, 1)
        self.phi = nn.Conv2d(num_channels, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        attended = linear_attention(self.theta(maps), self.phi(maps), self.g(maps))
        output: Tensor = self.W(attended) + maps
        return output


@in_full_precision
def linear_attention(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """Return theta^T (phi g^T) / N over the N = H W positions of three maps.

    Args:
        theta: (B, D, H, W).
        phi: (B, D, H, W).
        g: (B, D, H, W).

    Returns:
        (B, D, H, W).
    """
    height, width = theta.shape[2:]
    summary = torch.einsum("bin,bjn->bij", phi.flatten(2), g.flatten(2)) / (height * width)
    attended = torch.einsum("bin,bij->bjn", theta.flatten(2), summary)
    return attended.view(*attended.shape[:2], height, width)
