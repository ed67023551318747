"""Generalized-mean (GeM) pooling with a fixed or a learned power."""

import torch
from torch import Tensor, nn

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError

MIN_ACTIVATION = 1e-6  # lower values are clamped, as powers need positive bases


class GeneralizedMeanPooling(nn.Module):
    """Compute the p-th root of the mean of the p-th powers, with fixed p: 1 is the mean, large p the maximum.

    Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval with no human annotation (2018), equation 3. Values are
    clamped to at least 1e-6.

    Args:
        power: p, above 0.

    Attributes:
        test_power: p in evaluation mode, above 0; None: the same as in training.

    Raises:
        InputError: the power is not above 0.
    """

    p: Tensor
    test_power: float | None = None

    def __init__(self, power: float = 3.0):
        super().__init__()
        if not power > 0:
            raise InputError(f"the power of generalized-mean pooling must be above 0, not {power}")
        self._set_power(torch.full((1,), float(power)))

    def _set_power(self, power: Tensor) -> None:
        self.register_buffer("p", power, persistent=False)

    @in_full_precision
    def forward(self, maps: Tensor) -> Tensor:
        if self.training or self.test_power is None:
            return generalized_mean(maps, self.p)
        return generalized_mean(maps, torch.full_like(self.p, self.test_power))

    def extra_repr(self) -> str:
        return f"power={self.p.item():g}"


class GeneralizedMeanPoolingP(GeneralizedMeanPooling):
    """Generalized-mean pooling with a learned power, shared by all channels; `power` is its initial value."""

    def _set_power(self, power: Tensor) -> None:
        self.p = nn.Parameter(power)


def generalized_mean(maps: Tensor, power: Tensor) -> Tensor:
    """Return the generalized mean over the last two axes: (B, C, H, W) -> (B, C, 1, 1).

    The maximum is factored out before the power and multiplied back after the root. The result is the same, as the mean
    is homogeneous, but powers of large or small values cannot overflow or underflow.
    """
    clamped = maps.clamp(min=MIN_ACTIVATION)
    largest = clamped.detach().amax(dim=(2, 3), keepdim=True)
    return largest * (clamped / largest).pow(power).mean(dim=(2, 3), keepdim=True).pow(1 / power)
