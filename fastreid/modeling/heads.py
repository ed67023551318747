"""Heads: feature map of the backbone -> features and, in training, class scores."""

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
    """Output of a head in training.

    Args:
        logits: class scores with margin, for the losses: (B, C), or (B, K) if only K classes are sampled per step.
        plain_logits: class scores without margin, for the accuracy, of the same shape.
        target_columns: int64 (B,), column of each drawing's class in the logits.
        features: (B, D), for the metric losses.
        neck_features: (B, D), features that inference returns.
    """

    logits: Tensor
    plain_logits: Tensor
    target_columns: Tensor
    features: Tensor
    neck_features: Tensor


class EmbeddingHead(nn.Module):
    """Pooling, optional reduction layer, optional batch-norm neck, and classifier.

    Luo et al.: Bag of tricks and a strong baseline for deep person re-identification (2019). The head computes in at
    least float32: it takes a thousandth of the network's cost, and float16 would reduce the accuracy.

    Args:
        in_channels: channels of the feature map.
        num_classes: C, number of training patents.
        pool: (B, in_channels, H, W) -> (B, in_channels, 1, 1).
        margin: margin softmax applied to the class scores.
        embedding_dim: width of the reduction layer; 0: none.
        norm: factory of the norm of the neck, whose bias is fixed at 0; None: no neck.
        neck_feat: features for the metric losses: "before" or "after" the neck.
        partial_fc_ratio: ratio of the classes, above 0, in a step: those of the global batch and randomly sampled
            others (An et al.: Partial FC, 2021). Before the first call of `sample_classes`, all classes are used.

    Raises:
        InputError: an argument is out of range; when called: the pooling layer does not return one value per channel.
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
            raise InputError(f"MODEL.HEADS.NECK_FEAT must be before or after, not '{neck_feat}'")
        if embedding_dim < 0:
            raise InputError(f"MODEL.HEADS.EMBEDDING_DIM must be at least 0 (no reduction layer), not {embedding_dim}")
        if not 0 < partial_fc_ratio <= 1:
            raise InputError(f"MODEL.HEADS.PARTIAL_FC_RATIO must be above 0 and at most 1, not {partial_fc_ratio}")
        self.in_channels = in_channels
        self.feature_dim = embedding_dim or in_channels
        self.neck_feat = neck_feat
        self.partial_fc_ratio = partial_fc_ratio
        self._class_priorities: Tensor | None = None
        self.weight = nn.Parameter(torch.empty(num_classes, self.feature_dim))
        self.pool_layer = pool
        bottleneck: list[nn.Module] = []
        if embedding_dim:
            bottleneck.append(nn.Conv2d(in_channels, embedding_dim, 1, bias=False))
        if norm is not None:
            bottleneck.append(freeze_bias(norm(self.feature_dim)))
        self.bottleneck = nn.Sequential(*bottleneck)
        self.margin = Linear() if margin is None else margin
        init_convs(self.bottleneck)
        init_classifier(self.weight)

    def sample_classes(self, *parts: int | str) -> None:
        """Sample the classes that complete those of a batch (Partial FC) from a generator with the key `parts`.

        Call it before each step if `partial_fc_ratio` is below 1.
        """
        if self.partial_fc_ratio < 1:
            priorities = keyed_generator("classes", *parts).random(len(self.weight))
            self._class_priorities = torch.from_numpy(priorities).to(self.weight.device, non_blocking=True)

    @overload
    def forward(self, maps: Tensor) -> Tensor: ...

    @overload
    def forward(self, maps: Tensor, targets: Tensor) -> HeadOutput: ...

    @in_full_precision
    def forward(self, maps: Tensor, targets: Tensor | None = None) -> Tensor | HeadOutput:
        """Compute features or, with targets, the inputs of the losses.

        Args:
            maps: (B, in_channels, H, W).
            targets: int64 (B,), classes; None for inference.

        Returns:
            Features (B, D), float32 or float64; with targets, a `HeadOutput`.

        Raises:
            InputError: the pooling layer does not return one value per channel.
        """
        pooled = self.pool_layer(maps)
        if pooled.shape[1:] != (self.in_channels, 1, 1):
            raise InputError(
                f"{type(self.pool_layer).__name__} returned {tuple(pooled.shape)}, but the head needs "
                f"(B, {self.in_channels}, 1, 1); choose another MODEL.HEADS.POOL_LAYER"
            )
        neck_features: Tensor = self.bottleneck(pooled).flatten(1)
        if targets is None:
            return neck_features
        weight, columns = self._sampled_classes(targets)
        scores = self._scores(neck_features, weight)
        return HeadOutput(
            logits=self.margin(scores, columns),
            plain_logits=scores * self.margin.scale,
            target_columns=columns,
            features=pooled.flatten(1) if self.neck_feat == "before" else neck_features,
            neck_features=neck_features,
        )

    def num_sampled_classes(self, num_drawings: int) -> int:
        """Return the number of classes in a step of `num_drawings` drawings over all processes, with Partial FC."""
        return min(max(math.ceil(self.partial_fc_ratio * len(self.weight)), num_drawings), len(self.weight))

    def _sampled_classes(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (K, D) of the sampled classes, in order, and the column (B,) of each target."""
        if self._class_priorities is None:
            return self.weight, targets
        target_classes = comm.all_gather_rows(targets)
        num = self.num_sampled_classes(len(target_classes))
        # Priorities are below 1, so the classes of the batch are always selected.
        selected = self._class_priorities.index_fill(0, target_classes, 1.0).topk(num).indices.sort().values
        return self.weight[selected], torch.searchsorted(selected, targets)

    def _scores(self, features: Tensor, weight: Tensor) -> Tensor:
        if self.margin.uses_cosine:
            return F.linear(F.normalize(features), F.normalize(weight))
        return F.linear(features, weight)
