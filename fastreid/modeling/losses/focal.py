"""Focal loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class FocalLoss:
    """Mean over the batch of -alpha (1 - p)^gamma log p, p the softmax probability of the own class.

    Lin, Goyal, Girshick, He, Dollar: Focal loss for dense object detection (2017), equation 5. With gamma 0 it is
    alpha times cross entropy.

    Args:
        alpha: weight, above 0.
        gamma: exponent, not below 0: the larger, the less easy drawings count.

    Raises:
        InputError: a value out of range.
    """

    alpha: float = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not self.alpha > 0 or not self.gamma >= 0:
            raise InputError(f"focal loss takes ALPHA above 0 and GAMMA from 0, not {self.alpha} and {self.gamma}")

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.each(logits, targets).mean()

    @in_full_precision
    def each(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The losses of the single drawings: (B,)."""
        own = logits.log_softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
        # The floor keeps the slope of a root finite where p is 1.
        missed = (-own.expm1()).clamp(min=torch.finfo(own.dtype).eps)
        return -self.alpha * missed.pow(self.gamma) * own
