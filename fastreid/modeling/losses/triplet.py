"""Triplet loss over the pairs of a batch."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.distance import cosine_distance, euclidean_distance
from fastreid.layers.precision import in_full_precision
from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.utils.errors import InputError

WEIGHT_EPS = 1e-6  # what the softmax weights' sum is lifted by
WEIGHT_EPS_PEAK = 10.0  # distance at which the guard counts most
MIN_ACTIVE_SLOPE = 0.05  # of the loss on a drawing's distances, for its triplet to count as active; a margin's is 0 or 1


@dataclass(frozen=True)
class TripletLoss:
    """For each drawing, how much nearer its negative is than its positive should allow; the mean over the batch.

    The distance is Euclidean, or 2 - 2 cos with `norm_feat`. A drawing counts among its own positives. With
    `hard_mining` the positive is the farthest and the negative the nearest (Hermans, Beyer, Leibe: In defense of the
    triplet loss, 2017); without, both are means weighed by a softmax of the distance (Ristani, Tomasi: Features for
    multi-target multi-camera tracking, 2018). The loss is [p - n + margin]+, or log(1 + exp(p - n)) with margin 0. In
    a batch of one patent there are no negatives: the loss is 0 and has no gradient. With a `whole` batch the drawings'
    positives and negatives are sought in all of that.

    Args:
        margin: a distance, not below 0.

    Raises:
        InputError: a margin below 0.
    """

    margin: float = 0.3
    norm_feat: bool = False
    hard_mining: bool = False

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise InputError(f"triplet loss takes a MARGIN from 0, not {self.margin}")

    @property
    def collapse_value(self) -> float:
        """The loss when all features are one point."""
        return self.margin or math.log(2)

    @in_full_precision
    def __call__(self, features: Tensor, targets: Tensor, *, whole: GlobalBatch | None = None) -> Tensor:
        excess, alone = self._excess(features, targets, whole)
        losses = F.relu(excess + self.margin) if self.margin > 0 else F.softplus(excess)
        return torch.where(alone, torch.zeros_like(losses), losses).mean()

    @torch.no_grad()
    @in_full_precision
    def stats_fn(self, features: Tensor, targets: Tensor, *, whole: GlobalBatch | None = None) -> dict[str, Tensor]:
        """`active_triplets`: the share 0..1 of drawings whose triplet still pulls on the features.

        The slope of the loss is 1 within the margin and 0 beyond; with margin 0 it is the logistic function of p - n,
        and counts from `MIN_ACTIVE_SLOPE`, where the negative is 2.9 farther than the positive.
        """
        excess, alone = self._excess(features, targets, whole)
        pull = (excess + self.margin > 0).float() if self.margin > 0 else excess.sigmoid()
        return {"active_triplets": ((pull >= MIN_ACTIVE_SLOPE) & ~alone).float().mean()}

    def _excess(self, features: Tensor, targets: Tensor, whole: GlobalBatch | None) -> tuple[Tensor, Tensor]:
        """How much farther each drawing's positive is than its negative, and whether it has no negative: two (B,)."""
        whole = whole or GlobalBatch(features, targets)
        if self.norm_feat:
            distance = 2 * cosine_distance(features, whole.features)
        else:
            distance = euclidean_distance(features, whole.features)
        same = targets[:, None] == whole.targets
        if self.hard_mining:
            positive = distance.masked_fill(~same, -torch.inf).max(dim=1).values
            negative = distance.masked_fill(same, torch.inf).min(dim=1).values
        else:
            positive, negative = weighted_positive(distance, same), weighted_negative(distance, ~same)
        return positive - negative, same.all(dim=1)


def weighted_positive(distance: Tensor, same: Tensor) -> Tensor:
    """Mean distance to the positives, each weighed by exp(distance): (B, N) -> (B,)."""
    farthest = distance.masked_fill(~same, 0).max(dim=1, keepdim=True).values
    weights = (distance - farthest).masked_fill(~same, -torch.inf).exp()
    return (weights * distance).sum(dim=1) / (weights.sum(dim=1) + WEIGHT_EPS)


def weighted_negative(distance: Tensor, other: Tensor) -> Tensor:
    """Mean distance to the negatives, each weighed by exp(-distance): (B, N) -> (B,).

    fast-reid lifts the sum of the weights by 1e-6. Up to a distance of 10 that is kept, since what was trained with
    it depends on it (1.5 % at 9.6); farther out it would drown the weights themselves, until at 193 nothing is left,
    so from there the guard falls off as it had risen. The nearest negative's weight is 1 whatever its distance.
    """
    nearest = distance.detach().masked_fill(~other, torch.inf).min(dim=1, keepdim=True).values
    nearest = nearest.masked_fill(nearest == torch.inf, 0)
    weights = (nearest - distance).masked_fill(~other, -torch.inf).exp()
    guard = WEIGHT_EPS * (WEIGHT_EPS_PEAK - (nearest.squeeze(1) - WEIGHT_EPS_PEAK).abs()).exp()
    return (weights * distance).sum(dim=1) / (weights.sum(dim=1) + guard)
