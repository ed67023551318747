"""The limit on the gradients of a training step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GradientClip:
    """Limit on the gradients.

    Args:
        kind: "norm" limits the global gradient norm, "value" limits each element.
        limit: the largest norm or absolute value.
        norm_type: p of the p-norm.
    """

    kind: str
    limit: float
    norm_type: float = 2.0
