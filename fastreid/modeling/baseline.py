"""The baseline network: backbone, head and losses."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastreid.modeling.batch_statistics import Stats, compute_batch_stats
from fastreid.modeling.heads import HeadOutput, Maps
from fastreid.modeling.losses.distillation import SimilarityDistillation
from fastreid.modeling.losses.global_batch import all_gather_batch
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.memory import MemoryBank
from fastreid.utils.errors import InputError

Losses = dict[str, Tensor]


class Baseline(nn.Module):
    """Backbone and head; returns features in evaluation mode and losses in training mode.

    Args:
        backbone: images (B, 3, H, W) -> feature map (B, C, H', W'), vectors (B, C), or a list of these.
        heads: feature map -> features (B, D); feature map and classes -> `HeadOutput`.
        losses: terms of the training loss, with unique keys.
        pixel_mean: mean of each channel, levels 0..255.
        pixel_std: standard deviation of each channel, levels 0..255, above 0.
        memory: features of earlier iterations for the losses on pairs; None: pairs within the batch only.

    Attributes:
        distillation: loss that compares the features with those of a teacher; None: no teacher.

    Raises:
        InputError: there is no loss, two losses have the same key, the pixel statistics are invalid, or there is a
            memory but no loss on pairs.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        heads: nn.Module,
        losses: Sequence[LossTerm],
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        memory: MemoryBank | None = None,
    ):
        super().__init__()
        keys = [term.key for term in losses]
        if not keys or len(set(keys)) < len(keys):
            raise InputError(f"MODEL.LOSSES.NAME must contain at least one loss, and each only once, not {keys}")
        if len(pixel_mean) != 3 or len(pixel_std) != 3 or min(pixel_std) <= 0:
            raise InputError(
                "MODEL.PIXEL_MEAN and PIXEL_STD must have three values each, and PIXEL_STD must be above 0, "
                f"not {list(pixel_mean)} and {list(pixel_std)}"
            )
        if memory is not None and not any(term.inputs == "pairs" for term in losses):
            raise InputError(
                f"MODEL.LOSSES.MEMORY.SIZE is {memory.size}, but no loss of MODEL.LOSSES.NAME compares pairs; add one, "
                "such as TripletLoss, or set it to 0"
            )
        self.backbone = backbone
        self.heads = heads
        self.losses = tuple(losses)
        self.memory = memory
        self.distillation: SimilarityDistillation | None = None
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, images: Tensor, targets: Tensor | None = None, *, with_stats: bool = False
    ) -> Tensor | Losses | tuple[Losses, Stats]:
        """Compute the features of images or, in training mode, the losses.

        Args:
            images: float32 (B, 3, H, W), RGB, 0..255; not modified. Or the result of `compute_pooled_features`, to
                which only the head is applied.
            targets: int64 (B,), classes; required in training mode, not allowed otherwise.
            with_stats: in training mode, also return statistics of the batch.

        Returns:
            Evaluation mode: features (B, D), not normalized. Training mode: the losses by key, multiplied by their
            scale, over the batch of this process; their pairs are searched in the global batch and the memory. With
            stats: a tuple of these losses and the statistics of the batch (`fastreid.modeling.batch_statistics` and
            those of the losses), without gradient, on the device.

        Raises:
            InputError: images or targets have the wrong shape, or targets are missing or not allowed.
        """
        if images.ndim != 2 and (images.ndim != 4 or images.shape[1] != 3):
            raise InputError(f"images must be float32 (B, 3, H, W), RGB, 0..255, not {tuple(images.shape)}")
        if self.training:
            targets = _check_targets(targets, images)
            output = self.heads(self._backbone_maps(images), targets)
            apply = self._loss_inputs(output, targets)
            losses = {term.key: term.scale * apply[term.inputs](term.function) for term in self.losses}
            if self.distillation is not None:
                losses["loss_distill"] = self.distillation(images, output.neck_features, targets)
            if not with_stats:
                return losses
            stats = compute_batch_stats(output, targets)
            for term in self.losses:
                if term.stats_fn is not None:
                    stats |= apply[term.inputs](term.stats_fn)
            return losses, stats
        if targets is not None or with_stats:
            raise InputError(
                "targets and stats are only allowed in training mode; call model.train() first, or omit them"
            )
        features: Tensor = self.heads(self._backbone_maps(images))
        return features

    def _loss_inputs(self, output: HeadOutput, targets: Tensor) -> dict[str, Callable[[Callable[..., Any]], Any]]:
        """Return, for each kind of loss inputs, a function that applies a loss to them."""
        needs_pairs = any(term.inputs == "pairs" for term in self.losses)
        global_batch = all_gather_batch(output.features, targets) if needs_pairs else None
        if global_batch is not None and self.memory is not None:
            global_batch = self.memory.extend(global_batch)
        return {
            "logits": lambda function: function(output.logits, output.target_columns),
            "features": lambda function: function(output.features, targets),
            "pairs": lambda function: function(output.features, targets, global_batch=global_batch),
        }

    def compute_pooled_features(self, images: Tensor) -> Tensor:
        """Return the pooled features (B, C) of images (B, 3, H, W), the input of the other layers of the head."""
        pool: Callable[[Maps], Tensor] = getattr(self.heads, "pool")  # noqa: B009 - heads of users may lack it
        return pool(self._backbone_maps(images)).flatten(1)

    def _backbone_maps(self, images: Tensor) -> Maps:
        if images.ndim == 2:
            return images
        maps: Maps = self.backbone((images - self.pixel_mean) / self.pixel_std)
        return maps


def _check_targets(targets: Tensor | None, images: Tensor) -> Tensor:
    if targets is None or targets.shape != (len(images),) or targets.dtype != torch.int64:
        given = "none" if targets is None else f"{targets.dtype} {tuple(targets.shape)}"
        raise InputError(f"training needs the class of each image, int64 ({len(images)},), not {given}")
    if len(images) < 2:
        raise InputError(
            "training needs at least 2 images per batch, as batch norm and pair losses are undefined for one"
        )
    return targets
