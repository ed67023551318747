"""Triplet loss with hard or weighted mining in the batch."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.distance import cosine_distance, euclidean_distance
from fastreid.layers.precision import in_full_precision
from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.utils.errors import InputError

WEIGHT_EPS = 1e-6  # added to the sum of the softmax weights
WEIGHT_EPS_PEAK = 10.0  # distance up to which WEIGHT_EPS is constant
MIN_ACTIVE_SLOPE = 0.05  # minimum slope of the loss for an active triplet; with a margin the slope is 0 or 1


@dataclass(frozen=True)
class TripletLoss:
    """Compute the mean over a batch of the triplet loss [p - n + margin]+, or log(1 + exp(p - n)) for margin 0.

    p and n are the distances to the positive and to the negative: Euclidean, or 2 - 2 cos with `norm_feat`. A drawing
    is among the positives of itself. With `hard_mining`, the positive is the farthest and the negative the nearest
    (Hermans, Beyer, Leibe: In defense of the triplet loss, 2017). Otherwise both distances are means weighted by a
    softmax of the distance (Ristani, Tomasi: Features for multi-target multi-camera tracking, 2018). In a batch of one
    patent there are no negatives, and the loss is 0 without gradient. With a `global_batch`, positives and negatives
    are searched in that batch.

    Args:
        margin: a distance, at least 0.
        norm_feat: normalize the features.
        hard_mining: use the hardest positive and negative.

    Raises:
        InputError: the margin is negative.
    """

    margin: float = 0.3
    norm_feat: bool = False
    hard_mining: bool = False

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise InputError(f"MODEL.LOSSES.TRI.MARGIN must be at least 0, not {self.margin}")

    @property
    def collapse_value(self) -> float:
        """The loss if all features are equal."""
        return self.margin or math.log(2)

    @in_full_precision
    def __call__(self, features: Tensor, targets: Tensor, *, global_batch: GlobalBatch | None = None) -> Tensor:
        gap, has_no_negative = self._distance_gap(features, targets, global_batch)
        losses = F.relu(gap + self.margin) if self.margin > 0 else F.softplus(gap)
        return torch.where(has_no_negative, torch.zeros_like(losses), losses).mean()

    @torch.no_grad()
    @in_full_precision
    def compute_stats(
        self, features: Tensor, targets: Tensor, *, global_batch: GlobalBatch | None = None
    ) -> dict[str, Tensor]:
        """Return `active_triplets`, the ratio (0..1) of drawings whose triplet has a gradient.

        The slope of the loss is 1 within the margin and 0 beyond. With margin 0 it is the sigmoid of p - n, and a
        triplet is active from a slope of `MIN_ACTIVE_SLOPE` on, where n - p is 2.9.

        Args:
            features: (B, D).
            targets: class of each drawing, int64 (B,).
            global_batch: features and classes from every process; None: those of this process.
        """
        gap, has_no_negative = self._distance_gap(features, targets, global_batch)
        slope = (gap + self.margin > 0).float() if self.margin > 0 else gap.sigmoid()
        return {"active_triplets": ((slope >= MIN_ACTIVE_SLOPE) & ~has_no_negative).float().mean()}

    def _distance_gap(
        self, features: Tensor, targets: Tensor, global_batch: GlobalBatch | None
    ) -> tuple[Tensor, Tensor]:
        """Return p - n of each drawing (B,) and the bool mask (B,) of drawings without a negative."""
        global_batch = global_batch or GlobalBatch(features, targets)
        if self.norm_feat:
            distance = 2 * cosine_distance(features, global_batch.features)
        else:
            distance = euclidean_distance(features, global_batch.features)
        is_same = targets[:, None] == global_batch.targets
        if self.hard_mining:
            positive = distance.masked_fill(~is_same, -torch.inf).max(dim=1).values
            negative = distance.masked_fill(is_same, torch.inf).min(dim=1).values
        else:
            positive, negative = weighted_positive(distance, is_same), weighted_negative(distance, ~is_same)
        return positive - negative, is_same.all(dim=1)


def weighted_positive(distance: Tensor, is_positive: Tensor) -> Tensor:
    """Return the mean distance to the positives, weighted by exp(distance).

    Args:
        distance: (B, N).
        is_positive: bool (B, N).

    Returns:
        (B,).
    """
    farthest = distance.masked_fill(~is_positive, 0).max(dim=1, keepdim=True).values
    weights = (distance - farthest).masked_fill(~is_positive, -torch.inf).exp()
    return (weights * distance).sum(dim=1) / (weights.sum(dim=1) + WEIGHT_EPS)


def weighted_negative(distance: Tensor, is_negative: Tensor) -> Tensor:
    """Return the mean distance to the negatives, weighted by exp(-distance).

    fast-reid adds 1e-6 to the sum of the weights. Up to a distance of 10 this is reproduced, as its checkpoints were
    trained with it (a difference of 1.5 % at 9.6). At larger distances it would dominate the weights, until they vanish
    at 193, so here the constant decreases again beyond 10. Weights are relative to the nearest negative, whose weight
    is 1 at any distance.

    Args:
        distance: (B, N).
        is_negative: bool (B, N).

    Returns:
        (B,).
    """
    nearest = distance.detach().masked_fill(~is_negative, torch.inf).min(dim=1, keepdim=True).values
    nearest = nearest.masked_fill(nearest == torch.inf, 0)
    weights = (nearest - distance).masked_fill(~is_negative, -torch.inf).exp()
    eps = WEIGHT_EPS * (WEIGHT_EPS_PEAK - (nearest.squeeze(1) - WEIGHT_EPS_PEAK).abs()).exp()
    return (weights * distance).sum(dim=1) / (weights.sum(dim=1) + eps)
