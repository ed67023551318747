"""Focal loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class FocalLoss:
    """Compute the mean over the batch of -alpha (1 - p)^gamma log p, with p the probability of the target class.

    Lin, Goyal, Girshick, He, Dollar: Focal loss for dense object detection (2017), equation 5. With gamma 0 this is
    alpha times cross entropy.

    Args:
        alpha: weight, above 0.
        gamma: exponent, at least 0; larger values reduce the weight of easy drawings.

    Raises:
        InputError: a value is out of range.
    """

    alpha: float = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not self.alpha > 0 or not self.gamma >= 0:
            raise InputError(
                f"MODEL.LOSSES.FL.ALPHA must be above 0 and GAMMA at least 0, not {self.alpha} and {self.gamma}"
            )

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self.loss_per_drawing(logits, targets).mean()

    @in_full_precision
    def loss_per_drawing(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each drawing (B,), without reduction."""
        log_probs = logits.log_softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
        # The clamp keeps the gradient of a root (gamma below 1) finite at p = 1.
        one_minus_p = (-log_probs.expm1()).clamp(min=torch.finfo(log_probs.dtype).eps)
        return -self.alpha * one_minus_p.pow(self.gamma) * log_probs
