"""Margin softmax classifiers (CosFace, ArcFace, Circle): make the target class harder during training.

Each module maps class scores (B, C) and targets (B,) to logits (B, C), at least in float32. `uses_cosine` is True if
the scores must be cosines instead of dot products.
"""

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError


class Margin(nn.Module):
    """Base class of the margins.

    Args:
        scale: factor of the logits, above 0.
        margin: margin of the cosine, or of the angle in radians for `ArcSoftmax`; at least 0 and below pi.

    Raises:
        InputError: the scale or the margin is out of range.
    """

    uses_cosine = True

    def __init__(self, *, scale: float = 1.0, margin: float = 0.0):
        super().__init__()
        if not scale > 0 or not 0 <= margin < math.pi:
            raise InputError(
                f"MODEL.HEADS.SCALE must be above 0 and MARGIN at least 0 and below pi, not {scale} and {margin}"
            )
        self.scale = float(scale)
        self.margin = float(margin)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, margin={self.margin:g}"


class Linear(Margin):
    """Linear classifier: scaled dot products; the margin has no effect."""

    uses_cosine = False

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        return scores * self.scale


class ClassMargin(Margin, abc.ABC):
    """Base class of the margins that can differ between classes; subclasses define the function of a margin."""

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor, class_margins: Tensor | None = None) -> Tensor:
        """Compute the logits (B, C).

        Args:
            scores: (B, C), cosines.
            targets: int64 (B,), classes.
            class_margins: (C,), margin of each class; None: all have the margin of this module.
        """
        margin = self.margin if class_margins is None else class_margins
        return self.scale * self.apply_margin(scores, target_mask(scores, targets), margin)

    @abc.abstractmethod
    def apply_margin(self, scores: Tensor, is_target: Tensor, margin: float | Tensor) -> Tensor:
        """Return the logits (B, C) before scaling.

        Args:
            scores: (B, C), cosines.
            is_target: bool (B, C), target class of each row.
            margin: a number or (C,).
        """


class CosSoftmax(ClassMargin):
    """CosFace: subtract the margin from the cosine of the target class. Wang et al.: CosFace (2018), equation 4."""

    def apply_margin(self, scores: Tensor, is_target: Tensor, margin: float | Tensor) -> Tensor:
        return torch.where(is_target, scores - margin, scores)


class ArcSoftmax(ClassMargin):
    """ArcFace: add the margin to the angle of the target class. Deng et al.: ArcFace (2019), equation 3.

    cos(angle + m) is computed as cos(angle) cos(m) - sin(angle) sin(m), without an arc cosine. At cosines of 1 and -1,
    and beyond due to rounding, the sine is 0 and has no gradient.
    """

    def apply_margin(self, scores: Tensor, is_target: Tensor, margin: float | Tensor) -> Tensor:
        cosine, sine = _cos_and_sin(margin)
        square = (1 - scores) * (1 + scores)
        is_inside = square > torch.finfo(scores.dtype).eps
        score_sine = torch.where(is_inside, square, 1).sqrt() * is_inside
        return torch.where(is_target, scores * cosine - score_sine * sine, scores)


class CircleSoftmax(ClassMargin):
    """Circle loss on class weights: weight each cosine c by its distance from the optimum.

    Sun et al.: Circle loss (2020), equations 5 to 8. Logit of the target class: s [1 + m - c]+ (c - (1 - m)); of other
    classes: s [c + m]+ (c - m). The weights in brackets have no gradient.
    """

    def apply_margin(self, scores: Tensor, is_target: Tensor, margin: float | Tensor) -> Tensor:
        detached = scores.detach()
        positive = (1 + margin - detached).clamp(min=0) * (scores - (1 - margin))
        negative = (detached + margin).clamp(min=0) * (scores - margin)
        return torch.where(is_target, positive, negative)


def compute_class_margins(class_sizes: Tensor, margin_range: Sequence[float]) -> Tensor:
    """Return a margin for each class, larger for classes with fewer drawings.

    low + (high - low) * minmax(n ** -1/4) for n drawings, as in the third solution of Google Landmark Recognition 2020
    (Ha et al.: Google landmark recognition 2020 competition third place solution, 2020). Classes without drawings get
    the margin of the smallest class. If all classes have the same size, the margin is low.

    Args:
        class_sizes: int64 (C,), number of training drawings of each class, at least one of them above 0.
        margin_range: (low, high).

    Returns:
        (C,), float32.
    """
    low, high = margin_range
    rarity = class_sizes.clamp(min=int(class_sizes[class_sizes > 0].min())).double() ** -0.25
    spread = rarity.max() - rarity.min()
    scaled = (rarity - rarity.min()) / torch.where(spread > 0, spread, 1.0)
    return (low + (high - low) * scaled).float()


def _cos_and_sin(angle: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    return (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (math.cos(angle), math.sin(angle))


def target_mask(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the bool mask (B, C) of the target class of each row; all False for a target of -1."""
    return targets[:, None] == torch.arange(scores.shape[1], device=scores.device)
