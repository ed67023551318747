"""Heads: feature map of the backbone -> features and, in training, class scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid.layers.margin_softmax import ClassMargin, Linear, Margin, compute_class_margins
from fastreid.layers.norm import NormFactory, freeze_bias
from fastreid.layers.precision import in_full_precision
from fastreid.layers.weight_init import init_classifier, init_convs
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

Maps = Tensor | Sequence[Tensor]  # output of a backbone: maps (B, C, H, W), vectors (B, C), or several of these


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
        embedding_bias: whether the reduction layer has a bias.
        norm: factory of the norm of the neck, whose bias is fixed at 0; None: no neck.
        neck_feat: features for the metric losses: "before" or "after" the neck.
        partial_fc_ratio: ratio of the classes, above 0, in a step: those of the global batch and randomly sampled
            others (An et al.: Partial FC, 2021). Before the first call of `sample_classes`, all classes are used.
        num_sub_centers: K, weight vectors per class, whose maximum is the score of the class (Deng et al.: Sub-center
            ArcFace, 2020). The weights (C * K, D) contain those of a class in consecutive rows.
        margin_range: minimum and maximum of the margins of classes, which training sets with `set_class_sizes`; empty:
            all classes have the margin of `margin`.

    Raises:
        InputError: an argument is out of range; when called: the pooling layer does not return one value per channel,
            or the margins of classes are not set.
    """

    class_margins: Tensor | None

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        pool: nn.Module,
        margin: Margin | None = None,
        embedding_dim: int = 0,
        embedding_bias: bool = False,
        norm: NormFactory | None = None,
        neck_feat: Literal["before", "after"] = "before",
        partial_fc_ratio: float = 1.0,
        num_sub_centers: int = 1,
        margin_range: Sequence[float] = (),
    ):
        super().__init__()
        if neck_feat not in ("before", "after"):
            raise InputError(f"MODEL.HEADS.NECK_FEAT must be before or after, not '{neck_feat}'")
        if embedding_dim < 0:
            raise InputError(f"MODEL.HEADS.EMBEDDING_DIM must be at least 0 (no reduction layer), not {embedding_dim}")
        if embedding_bias and not embedding_dim:
            raise InputError("MODEL.HEADS.EMBEDDING_BIAS is True, but there is no reduction layer; set EMBEDDING_DIM")
        if not 0 < partial_fc_ratio <= 1:
            raise InputError(f"MODEL.HEADS.PARTIAL_FC_RATIO must be above 0 and at most 1, not {partial_fc_ratio}")
        if num_sub_centers < 1:
            raise InputError(f"MODEL.HEADS.SUB_CENTERS must be at least 1 (one center), not {num_sub_centers}")
        self.margin = Linear() if margin is None else margin
        _check_margin_range(margin_range, self.margin)
        self.in_channels = in_channels
        self.feature_dim = embedding_dim or in_channels
        self.metric_dim = in_channels if neck_feat == "before" else self.feature_dim
        self.neck_feat = neck_feat
        self.partial_fc_ratio = partial_fc_ratio
        self._class_priorities: Tensor | None = None
        self.num_classes = num_classes
        self.num_sub_centers = num_sub_centers
        self.margin_range = tuple(margin_range)
        self.register_buffer("class_margins", None, persistent=False)
        self.weight = nn.Parameter(torch.empty(num_classes * num_sub_centers, self.feature_dim))
        self.pool_layer = pool
        bottleneck: list[nn.Module] = []
        if embedding_dim:
            bottleneck.append(nn.Conv2d(in_channels, embedding_dim, 1, bias=embedding_bias))
        if norm is not None:
            bottleneck.append(freeze_bias(norm(self.feature_dim)))
        self.bottleneck = nn.Sequential(*bottleneck)
        init_convs(self.bottleneck)
        init_classifier(self.weight)

    def sample_classes(self, *parts: int | str) -> None:
        """Sample the classes that complete those of a batch (Partial FC) from a generator with the key `parts`.

        Call it before each step if `partial_fc_ratio` is below 1.
        """
        if self.partial_fc_ratio < 1:
            priorities = keyed_generator("classes", *parts).random(self.num_classes)
            self._class_priorities = torch.from_numpy(priorities).to(self.weight.device, non_blocking=True)

    def set_class_sizes(self, class_sizes: Sequence[int]) -> None:
        """Set the margins of the classes from their numbers of training drawings; needed if there is a `margin_range`.

        Args:
            class_sizes: number of drawings of each class.
        """
        if self.margin_range:
            margins = compute_class_margins(torch.tensor(class_sizes), self.margin_range)
            self.class_margins = margins.to(self.weight.device)

    @in_full_precision
    def pool(self, maps: Maps) -> Tensor:
        """Return the pooled features (B, in_channels, 1, 1) of the backbone's output."""
        return pool_features(self.pool_layer, maps, num_channels=self.in_channels)

    @overload
    def forward(self, maps: Maps) -> Tensor: ...

    @overload
    def forward(self, maps: Maps, targets: Tensor) -> HeadOutput: ...

    @in_full_precision
    def forward(self, maps: Maps, targets: Tensor | None = None) -> Tensor | HeadOutput:
        """Compute features or, with targets, the inputs of the losses.

        Args:
            maps: (B, in_channels, H, W), or a list of maps and vectors (B, C) with `in_channels` channels in total.
            targets: int64 (B,), classes; None for inference.

        Returns:
            Features (B, D), float32 or float64; with targets, a `HeadOutput`.

        Raises:
            InputError: the pooling layer does not return one value per channel, or the margins of classes are not set.
        """
        pooled = self.pool(maps)
        neck_features: Tensor = self.bottleneck(pooled).flatten(1)
        if targets is None:
            return neck_features
        if self.margin_range and self.class_margins is None:
            raise InputError(
                "MODEL.HEADS.MARGIN_RANGE needs the number of drawings of each class; call build_model with class_sizes"
            )
        weight, columns, margins = self._sampled_classes(targets)
        scores = self._scores(neck_features, weight)
        return HeadOutput(
            logits=self.margin(scores, columns) if margins is None else self.margin(scores, columns, margins),
            plain_logits=scores * self.margin.scale,
            target_columns=columns,
            features=pooled.flatten(1) if self.neck_feat == "before" else neck_features,
            neck_features=neck_features,
        )

    def num_sampled_classes(self, num_drawings: int) -> int:
        """Return the number of classes in a step of `num_drawings` drawings over all processes, with Partial FC."""
        return min(max(math.ceil(self.partial_fc_ratio * self.num_classes), num_drawings), self.num_classes)

    def _sampled_classes(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the weights of the sampled classes, in order, the column (B,) of each target, and their margins."""
        if self._class_priorities is None:
            return self.weight, targets, self.class_margins
        target_classes = comm.all_gather_rows(targets)
        num = self.num_sampled_classes(len(target_classes))
        # Priorities are below 1, so the classes of the batch are always selected.
        selected = self._class_priorities.index_fill(0, target_classes, 1.0).topk(num).indices.sort().values
        weight = self.weight.view(self.num_classes, self.num_sub_centers, -1)[selected].flatten(0, 1)
        margins = None if self.class_margins is None else self.class_margins[selected]
        return weight, torch.searchsorted(selected, targets), margins

    def _scores(self, features: Tensor, weight: Tensor) -> Tensor:
        if self.margin.uses_cosine:
            features, weight = F.normalize(features), F.normalize(weight)
        scores = F.linear(features, weight)
        return scores if self.num_sub_centers == 1 else scores.view(len(scores), -1, self.num_sub_centers).amax(dim=2)


def pool_features(pool: nn.Module, maps: Maps, *, num_channels: int) -> Tensor:
    """Pool maps to one value per channel and join them; vectors, such as class tokens, stay as they are.

    Args:
        pool: (B, C, H, W) -> (B, C, 1, 1).
        maps: maps (B, C, H, W), vectors (B, C), or a list of these.
        num_channels: expected channels in total.

    Returns:
        (B, num_channels, 1, 1).

    Raises:
        InputError: the pooling layer does not return one value per channel, or the number of channels differs.
    """
    parts = [maps] if isinstance(maps, Tensor) else maps
    pooled = [part[:, :, None, None] if part.ndim == 2 else pool(part) for part in parts]
    num_found = sum(part.shape[1] for part in pooled)
    if num_found != num_channels or any(part.shape[2:] != (1, 1) for part in pooled):
        shapes = " and ".join(str(tuple(part.shape)) for part in pooled)
        raise InputError(
            f"{type(pool).__name__} returned {shapes}, but the head needs "
            f"(B, {num_channels}, 1, 1); choose another MODEL.HEADS.POOL_LAYER"
        )
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


def _check_margin_range(margin_range: Sequence[float], margin: Margin) -> None:
    if not margin_range:
        return
    if len(margin_range) != 2 or not 0 <= margin_range[0] <= margin_range[1] < math.pi:
        raise InputError(
            "MODEL.HEADS.MARGIN_RANGE must be empty or [low, high] with 0 <= low <= high < pi, "
            f"not {list(margin_range)}"
        )
    if not isinstance(margin, ClassMargin):
        raise InputError(
            f"MODEL.HEADS.MARGIN_RANGE has no effect with the classifier {type(margin).__name__}, which has no margin "
            "for each class; set MODEL.HEADS.CLS_LAYER to ArcSoftmax, CosSoftmax or CircleSoftmax"
        )
