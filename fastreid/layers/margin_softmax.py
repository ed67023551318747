"""Margin softmax classifiers (CosFace, ArcFace, Circle): make the target class harder during training.

Each module maps class scores (B, C) and targets (B,) to logits (B, C), at least in float32. `uses_cosine` is True if
the scores must be cosines instead of dot products.
"""

import math

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


class CosSoftmax(Margin):
    """CosFace: subtract the margin from the cosine of the target class. Wang et al.: CosFace (2018), equation 4."""

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self.scale * torch.where(target_mask(scores, targets), scores - self.margin, scores)


class ArcSoftmax(Margin):
    """ArcFace: add the margin to the angle of the target class. Deng et al.: ArcFace (2019), equation 3.

    cos(angle + m) is computed as cos(angle) cos(m) - sin(angle) sin(m), without an arc cosine. At cosines of 1 and -1,
    and beyond due to rounding, the sine is 0 and has no gradient.
    """

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        square = (1 - scores) * (1 + scores)
        is_inside = square > torch.finfo(scores.dtype).eps
        sine = torch.where(is_inside, square, 1).sqrt() * is_inside
        rotated = scores * math.cos(self.margin) - sine * math.sin(self.margin)
        return self.scale * torch.where(target_mask(scores, targets), rotated, scores)


class CircleSoftmax(Margin):
    """Circle loss on class weights: weight each cosine c by its distance from the optimum.

    Sun et al.: Circle loss (2020), equations 5 to 8. Logit of the target class: s [1 + m - c]+ (c - (1 - m)); of other
    classes: s [c + m]+ (c - m). The weights in brackets have no gradient.
    """

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        detached = scores.detach()
        positive = (1 + self.margin - detached).clamp(min=0) * (scores - (1 - self.margin))
        negative = (detached + self.margin).clamp(min=0) * (scores - self.margin)
        return self.scale * torch.where(target_mask(scores, targets), positive, negative)


def target_mask(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the bool mask (B, C) of the target class of each row; all False for a target of -1."""
    return targets[:, None] == torch.arange(scores.shape[1], device=scores.device)
