"""From the backbone's map to a drawing's features, and in training to its class scores."""

from dataclasses import dataclass
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid.layers.margin import Linear, Margin
from fastreid.layers.norm import NormMaker, freeze_bias
from fastreid.layers.precision import in_full_precision
from fastreid.layers.weight_init import init_classifier, init_convs
from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class HeadOutput:
    """What a head gives in training.

    Args:
        logits: class scores with margin, for the losses (B, C).
        plain_logits: class scores without margin, for the accuracy (B, C).
        features: what the metric losses see (B, D).
        neck: what a test would get (B, D).
    """

    logits: Tensor
    plain_logits: Tensor
    features: Tensor
    neck: Tensor


class EmbeddingHead(nn.Module):
    """Pool, optional reducing layer, optional batch-norm neck, and class weights.

    Luo et al.: Bag of tricks and a strong baseline for deep person re-identification (2019). All of it works in
    float32 at least: it is a thousandth of the network's cost and where float16 does harm.

    Args:
        in_channels: channels of the map.
        num_classes: C, patents to tell apart.
        pool: (B, in_channels, H, W) -> (B, in_channels, 1, 1).
        margin: what the class scores go through before the losses.
        embedding_dim: width of the reducing layer; 0: none.
        norm: maker of the neck's norm, whose bias stays 0; None: no neck.
        neck_feat: which side of the neck the metric losses see, "before" or "after".

    Raises:
        InputError: an unknown side, or a pool that does not give one number a channel.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        pool: nn.Module,
        margin: Margin | None = None,
        embedding_dim: int = 0,
        norm: NormMaker | None = None,
        neck_feat: Literal["before", "after"] = "before",
    ):
        super().__init__()
        if neck_feat not in ("before", "after"):
            raise InputError(f"MODEL.HEADS.NECK_FEAT is before or after, not '{neck_feat}'")
        if embedding_dim < 0:
            raise InputError(f"MODEL.HEADS.EMBEDDING_DIM is 0 (no reducing layer) or more, not {embedding_dim}")
        self.in_channels = in_channels
        self.feature_dim = embedding_dim or in_channels
        self.neck_feat = neck_feat
        self.weight = nn.Parameter(torch.empty(num_classes, self.feature_dim))
        self.pool_layer = pool
        neck: list[nn.Module] = []
        if embedding_dim:
            neck.append(nn.Conv2d(in_channels, embedding_dim, 1, bias=False))
        if norm is not None:
            neck.append(freeze_bias(norm(self.feature_dim)))
        self.bottleneck = nn.Sequential(*neck)
        self.margin = Linear() if margin is None else margin
        init_convs(self.bottleneck)
        init_classifier(self.weight)

    @overload
    def forward(self, maps: Tensor) -> Tensor: ...

    @overload
    def forward(self, maps: Tensor, targets: Tensor) -> HeadOutput: ...

    @in_full_precision
    def forward(self, maps: Tensor, targets: Tensor | None = None) -> Tensor | HeadOutput:
        """Features (B, D) of a map; with the drawings' classes (B,), all that the losses need."""
        pooled = self.pool_layer(maps)
        if pooled.shape[1:] != (self.in_channels, 1, 1):
            raise InputError(
                f"{type(self.pool_layer).__name__} gave {tuple(pooled.shape)} where the head needs "
                f"(B, {self.in_channels}, 1, 1); choose another MODEL.HEADS.POOL_LAYER"
            )
        neck = self.bottleneck(pooled).flatten(1)
        if targets is None:
            return neck
        scores = self._scores(neck)
        return HeadOutput(
            logits=self.margin(scores, targets),
            plain_logits=scores * self.margin.scale,
            features=pooled.flatten(1) if self.neck_feat == "before" else neck,
            neck=neck,
        )

    def _scores(self, neck: Tensor) -> Tensor:
        if self.margin.of_cosines:
            return F.linear(F.normalize(neck), F.normalize(self.weight))
        return F.linear(neck, self.weight)
