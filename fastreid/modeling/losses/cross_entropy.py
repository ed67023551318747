"""Cross entropy with smoothed targets."""

from dataclasses import dataclass

from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError

ADAPTIVE_EPSILON = -1.0  # the epsilon that stands for "from the drawing's own probability"


@dataclass(frozen=True)
class CrossEntropyLoss:
    """Mean over the batch of -sum(target log p), where the own class has target 1 - e and each other e / (C - 1).

    Szegedy et al.: Rethinking the inception architecture (2016), section 7, with the own class left out of the share.
    With epsilon -1, e is `alpha` times the probability the drawing's own class has, without gradient.

    Args:
        epsilon: e, 0 to below 1, or -1.
        alpha: 0 to 1, of use with epsilon -1.

    Raises:
        InputError: a value out of range.
    """

    epsilon: float = 0.0
    alpha: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.epsilon < 1 or self.epsilon == ADAPTIVE_EPSILON) or not 0 <= self.alpha <= 1:
            raise InputError(
                f"cross entropy takes EPSILON 0 to below 1, or -1, and ALPHA 0 to 1, not {self.epsilon} and {self.alpha}"
            )

    @in_full_precision
    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        num_others = max(logits.shape[1] - 1, 1)
        logs = logits.log_softmax(dim=1)
        own = logs.gather(1, targets[:, None]).squeeze(1)
        smoothing = self.alpha * own.detach().exp() if self.epsilon == ADAPTIVE_EPSILON else self.epsilon
        others = logs.sum(dim=1) - own
        return -((1 - smoothing) * own + smoothing / num_others * others).mean()
