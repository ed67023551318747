"""From a map (B, C, H, W) to one number a channel (B, C, 1, 1)."""

import torch
from torch import Tensor, nn

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError

SMALLEST_ACTIVATION = 1e-6  # what generalised means take for anything below it


class GlobalAvgPool(nn.Module):
    """The mean over the map."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True)


class GlobalMaxPool(nn.Module):
    """The largest value of the map; its gradient goes to one place, so that it is the same in every run."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).max(dim=2).values[..., None, None]


class AdaptiveAvgMaxPool(nn.Module):
    """The mean plus the largest value."""

    def __init__(self) -> None:
        super().__init__()
        self.average = GlobalAvgPool()
        self.maximum = GlobalMaxPool()

    def forward(self, maps: Tensor) -> Tensor:
        return self.average(maps) + self.maximum(maps)


class ClipGlobalAvgPool(nn.Module):
    """The mean, held between 0 and 1."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3), keepdim=True).clamp(min=0, max=1)


class GeneralizedMeanPooling(nn.Module):
    """The mean of the p-th powers, and of that the p-th root: 1 is the mean, large p the maximum.

    Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval with no human annotation (2018), equation 3. Values below
    1e-6 count as 1e-6.

    Args:
        power: p, above 0.

    Raises:
        InputError: the power is not above 0.
    """

    p: Tensor

    def __init__(self, power: float = 3.0):
        super().__init__()
        if not power > 0:
            raise InputError(f"the power of a generalised mean is above 0, not {power}")
        self._keep(torch.full((1,), float(power)))

    def _keep(self, power: Tensor) -> None:
        self.register_buffer("p", power, persistent=False)

    @in_full_precision
    def forward(self, maps: Tensor) -> Tensor:
        return generalized_mean(maps, self.p)

    def extra_repr(self) -> str:
        return f"power={self.p.item():g}"


class GeneralizedMeanPoolingP(GeneralizedMeanPooling):
    """The generalised mean whose power is learnt, one for all channels; `power` is where it starts."""

    def _keep(self, power: Tensor) -> None:
        self.p = nn.Parameter(power)


class Identity(nn.Module):
    """The map as it is, for backbones that have pooled it already."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps


class Flatten(nn.Module):
    """Every value of the map as a channel of its own: (B, C, H, W) -> (B, CHW, 1, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(1)[..., None, None]


def generalized_mean(maps: Tensor, power: Tensor) -> Tensor:
    """The generalised mean over the last two axes, kept as axes of length 1.

    The largest value is taken out before the power and put back after the root: it changes nothing, since the mean
    is of degree one, but no power of a large or small value can leave the range of floats.
    """
    clamped = maps.clamp(min=SMALLEST_ACTIVATION)
    largest = clamped.detach().amax(dim=(2, 3), keepdim=True)
    return largest * (clamped / largest).pow(power).mean(dim=(2, 3), keepdim=True).pow(1 / power)
