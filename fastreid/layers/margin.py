"""Classifiers' margins: what makes the own class harder than the others while training.

Each takes class scores (B, C) and the drawings' classes (B,) and gives the scores the losses see, in float32 at
least. `of_cosines` says whether the scores must be cosines or plain products.
"""

import math

import torch
from torch import Tensor, nn

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError


class Margin(nn.Module):
    """What the margins have in common.

    Args:
        scale: factor on the scores, above 0.
        margin: a cosine, or an angle in radians for `ArcSoftmax`; not below 0.

    Raises:
        InputError: a scale or margin out of range.
    """

    of_cosines = True

    def __init__(self, *, scale: float = 1.0, margin: float = 0.0):
        super().__init__()
        if not scale > 0 or not 0 <= margin < math.pi:
            raise InputError(f"a classifier's scale is above 0 and its margin 0 to pi, not {scale} and {margin}")
        self.scale = float(scale)
        self.margin = float(margin)

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}, margin={self.margin:g}"


class Linear(Margin):
    """Plain products, times the scale; there is nothing a margin could mean here, so it has no effect."""

    of_cosines = False

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        return scores * self.scale


class CosSoftmax(Margin):
    """The own class's cosine less the margin. Wang et al.: CosFace (2018), equation 4."""

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        return self.scale * torch.where(own_class(scores, targets), scores - self.margin, scores)


class ArcSoftmax(Margin):
    """The own class's angle plus the margin. Deng et al.: ArcFace (2019), equation 3.

    cos(angle + m) is expanded to cos(angle) cos(m) - sin(angle) sin(m), which needs no arc cosine. At a cosine of 1
    or -1, and where rounding has gone beyond, the sine is 0 and lends no gradient.
    """

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        square = (1 - scores) * (1 + scores)
        inside = square > torch.finfo(scores.dtype).eps
        sine = torch.where(inside, square, 1).sqrt() * inside
        turned = scores * math.cos(self.margin) - sine * math.sin(self.margin)
        return self.scale * torch.where(own_class(scores, targets), turned, scores)


class CircleSoftmax(Margin):
    """Each cosine weighed by how far it is from where it should be.

    Sun et al.: Circle loss (2020), equations 5 to 8, on class weights: own class s [1 + m - c]+ (c - (1 - m)), others
    s [c + m]+ (c - m). The weights in brackets carry no gradient.
    """

    @in_full_precision
    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        fixed = scores.detach()
        own = (1 + self.margin - fixed).clamp(min=0) * (scores - (1 - self.margin))
        others = (fixed + self.margin).clamp(min=0) * (scores - self.margin)
        return self.scale * torch.where(own_class(scores, targets), own, others)


def own_class(scores: Tensor, targets: Tensor) -> Tensor:
    """True where a column is the row's own class: (B, C). A target of -1 has none."""
    return targets[:, None] == torch.arange(scores.shape[1], device=scores.device)
