"""Circle loss on pairs of features. `CircleSoftmax` in `fastreid.layers.margin_softmax` is the version for classes."""

from dataclasses import dataclass

from torch import Tensor

from fastreid.modeling.losses.pair_loss import PairLoss


@dataclass(frozen=True)
class CircleLoss(PairLoss):
    """Circle loss on pairs. Sun et al.: Circle loss (2020), equations 4 to 8.

    A drawing without a positive or without a negative pair contributes 0. The weights [.]+ have no gradient.
    """

    def exponents(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        detached = cosines.detach()
        positive = -(1 + self.margin - detached).clamp(min=0) * (cosines - (1 - self.margin))
        negative = (detached + self.margin).clamp(min=0) * (cosines - self.margin)
        return self.gamma * positive, self.gamma * negative
