"""Cross entropy with label smoothing."""

from dataclasses import dataclass

from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError

ADAPTIVE_EPSILON = -1.0  # epsilon value that selects smoothing by the predicted probability


@dataclass(frozen=True)
class CrossEntropyLoss:
    """Compute the mean over the batch of -sum(t log p), with t = 1 - e for the target class and e / (C - 1) for others.

    Szegedy et al.: Rethinking the inception architecture (2016), section 7, but without a share of e for the target
    class. With epsilon -1, e is `alpha` times the predicted probability of the target class, without gradient.

    Args:
        epsilon: e, at least 0 and below 1; or -1.
        alpha: 0 to 1, used only with epsilon -1.

    Raises:
        InputError: a value is out of range.
    """

    epsilon: float = 0.0
    alpha: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.epsilon < 1 or self.epsilon == ADAPTIVE_EPSILON) or not 0 <= self.alpha <= 1:
            raise InputError(
                f"MODEL.LOSSES.CE.EPSILON must be at least 0 and below 1, or -1, and ALPHA between 0 and 1, "
                f"not {self.epsilon} and {self.alpha}"
            )

    @in_full_precision
    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        num_others = max(logits.shape[1] - 1, 1)
        log_probs = logits.log_softmax(dim=1)
        target_log_probs = log_probs.gather(1, targets[:, None]).squeeze(1)
        smoothing = self.alpha * target_log_probs.detach().exp() if self.epsilon == ADAPTIVE_EPSILON else self.epsilon
        other_log_probs = log_probs.sum(dim=1) - target_log_probs
        return -((1 - smoothing) * target_log_probs + smoothing / num_others * other_log_probs).mean()
