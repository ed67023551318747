"""Losses over all pairs of a batch that sum by log-sum-exp: circle and cosface."""

import abc
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.utils.errors import InputError

NO_PAIR = -99999999.0  # exponent that stands for a pair that is not one; finite, so that its gradient is 0


@dataclass(frozen=True)
class PairLoss(abc.ABC):
    """What the two share: mean over the drawings of softplus(LSE(positive pairs) + LSE(negative pairs)).

    With a `whole` batch the drawings' pairs are those with all of that.

    Args:
        margin: of the cosine, not below 0.
        gamma: factor on the cosines, above 0.

    Raises:
        InputError: a value out of range.
    """

    margin: float = 0.25
    gamma: float = 128.0

    def __post_init__(self) -> None:
        if not self.margin >= 0 or not self.gamma > 0:
            raise InputError(f"a pair loss takes MARGIN from 0 and GAMMA above 0, not {self.margin} and {self.gamma}")

    @in_full_precision
    def __call__(self, features: Tensor, targets: Tensor, *, whole: GlobalBatch | None = None) -> Tensor:
        whole = whole or GlobalBatch(features, targets)
        cosines = F.normalize(features) @ F.normalize(whole.features).T
        same = targets[:, None] == whole.targets
        positive, negative = self.exponents(cosines)
        positive = positive.masked_fill(~same | whole.self_mask(len(targets)), NO_PAIR).logsumexp(dim=1)
        negative = negative.masked_fill(same, NO_PAIR).logsumexp(dim=1)
        return F.softplus(positive + negative).mean()

    @abc.abstractmethod
    def exponents(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """What each pair adds, were it a positive and were it a negative: two (B, N)."""


@dataclass(frozen=True)
class CircleLoss(PairLoss):
    """Circle loss on pairs. Sun et al.: Circle loss (2020), equations 4 to 8.

    A drawing without a positive or without a negative adds 0. The weights [.]+ carry no gradient.
    """

    def exponents(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        fixed = cosines.detach()
        positive = -(1 + self.margin - fixed).clamp(min=0) * (cosines - (1 - self.margin))
        negative = (fixed + self.margin).clamp(min=0) * (cosines - self.margin)
        return self.gamma * positive, self.gamma * negative


@dataclass(frozen=True)
class CosfaceLoss(PairLoss):
    """Cosface on pairs: the negatives' cosines plus a margin below the positives' (Sun et al. 2020, equation 3)."""

    def exponents(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        return -self.gamma * cosines, self.gamma * (cosines + self.margin)
