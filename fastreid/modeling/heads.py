"""From the backbone's map to a drawing's features, and in training to its class scores."""

import math
from dataclasses import dataclass
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid.layers.margin_softmax import Linear, Margin
from fastreid.layers.norm import NormFactory, freeze_bias
from fastreid.layers.precision import in_full_precision
from fastreid.layers.weight_init import init_classifier, init_convs
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator


@dataclass(frozen=True)
class HeadOutput:
    """What a head gives in training.

    Args:
        logits: class scores with margin, for the losses (B, C), or (B, K) where only K classes take part in a step.
        plain_logits: class scores without margin, for the accuracy, of the same classes.
        columns: where each drawing's own class stands in them (B,).
        features: what the metric losses see (B, D).
        neck: what a test would get (B, D).
    """

    logits: Tensor
    plain_logits: Tensor
    target_columns: Tensor
    features: Tensor
    neck_features: Tensor


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
        class_share: share of the classes, above 0, that take part in a step: those of the batch of all processes, and
            others by chance as far as they are fewer (An et al.: Partial FC, 2021). Which, `draw` says; before it was
            called all do.

    Raises:
        InputError: a share out of range, an unknown side, or a pool that does not give one number a channel.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        pool: nn.Module,
        margin: Margin | None = None,
        embedding_dim: int = 0,
        norm: NormFactory | None = None,
        neck_feat: Literal["before", "after"] = "before",
        partial_fc_ratio: float = 1.0,
    ):
        super().__init__()
        if neck_feat not in ("before", "after"):
            raise InputError(f"MODEL.HEADS.NECK_FEAT is before or after, not '{neck_feat}'")
        if embedding_dim < 0:
            raise InputError(f"MODEL.HEADS.EMBEDDING_DIM is 0 (no reducing layer) or more, not {embedding_dim}")
        if not 0 < partial_fc_ratio <= 1:
            raise InputError(f"MODEL.HEADS.PARTIAL_FC_RATIO is above 0 to 1, not {partial_fc_ratio}")
        self.in_channels = in_channels
        self.feature_dim = embedding_dim or in_channels
        self.neck_feat = neck_feat
        self.partial_fc_ratio = partial_fc_ratio
        self._class_priorities: Tensor | None = None
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

    def sample_classes(self, *parts: int | str) -> None:
        """Choose anew by which chance other classes than a batch's own take part; the same parts, the same chance."""
        if self.partial_fc_ratio < 1:
            chances = keyed_generator("classes", *parts).random(len(self.weight))
            self._class_priorities = torch.from_numpy(chances).to(self.weight.device, non_blocking=True)

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
        weight, columns = self._sampled_classes(targets)
        scores = self._scores(neck, weight)
        return HeadOutput(
            logits=self.margin(scores, columns),
            plain_logits=scores * self.margin.scale,
            target_columns=columns,
            features=pooled.flatten(1) if self.neck_feat == "before" else neck,
            neck_features=neck,
        )

    def num_sampled_classes(self, num_drawings: int) -> int:
        """How many classes take part in a step of so many drawings, over all processes, once `draw` was called."""
        return min(max(math.ceil(self.partial_fc_ratio * len(self.weight)), num_drawings), len(self.weight))

    def _sampled_classes(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (K, D) of the classes that take part, in their order, and where the drawings' own are among them."""
        if self._class_priorities is None:
            return self.weight, targets
        own = comm.all_gather_rows(targets)
        num = self.num_sampled_classes(len(own))
        kept = self._class_priorities.index_fill(0, own, 1.0).topk(num).indices.sort().values  # a chance is below 1
        return self.weight[kept], torch.searchsorted(kept, targets)

    def _scores(self, neck: Tensor, weight: Tensor) -> Tensor:
        if self.margin.uses_cosine:
            return F.linear(F.normalize(neck), F.normalize(weight))
        return F.linear(neck, weight)
