"""CosFace loss on pairs of features. `CosSoftmax` in `fastreid.layers.margin_softmax` is the version for classes."""

from dataclasses import dataclass

from torch import Tensor

from fastreid.modeling.losses.pair_loss import PairLoss


@dataclass(frozen=True)
class CosfaceLoss(PairLoss):
    """Push the cosines of negative pairs below those of positive pairs by a margin.

    Sun et al.: Circle loss (2020), equation 3.
    """

    def exponents(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        return -self.gamma * cosines, self.gamma * (cosines + self.margin)
