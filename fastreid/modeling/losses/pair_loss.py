"""Base class of losses over all pairs of a batch that aggregate with log-sum-exp."""

import abc
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.utils.errors import InputError

EXCLUDED_PAIR = -99999999.0  # exponent of excluded pairs; finite, so that the gradient is 0 instead of NaN


@dataclass(frozen=True)
class PairLoss(abc.ABC):
    """Compute the mean over drawings of softplus(LSE(positive pairs) + LSE(negative pairs)).

    With a `global_batch`, the pairs of each drawing are those with all drawings of that batch.

    Args:
        margin: margin of the cosine, at least 0.
        gamma: factor of the cosines, above 0.

    Raises:
        InputError: a value is out of range.
    """

    margin: float = 0.25
    gamma: float = 128.0

    def __post_init__(self) -> None:
        if not self.margin >= 0 or not self.gamma > 0:
            raise InputError(f"MARGIN must be at least 0 and GAMMA above 0, not {self.margin} and {self.gamma}")

    @in_full_precision
    def __call__(self, features: Tensor, targets: Tensor, *, global_batch: GlobalBatch | None = None) -> Tensor:
        global_batch = global_batch or GlobalBatch(features, targets)
        cosines = F.normalize(features) @ F.normalize(global_batch.features).T
        is_same = targets[:, None] == global_batch.targets
        positive, negative = self.exponents(cosines)
        positive = positive.masked_fill(~is_same | global_batch.self_mask(len(targets)), EXCLUDED_PAIR).logsumexp(dim=1)
        negative = negative.masked_fill(is_same, EXCLUDED_PAIR).logsumexp(dim=1)
        return F.softplus(positive + negative).mean()

    @abc.abstractmethod
    def exponents(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exponents of the pairs (B, N) if they were positive, and if they were negative."""
