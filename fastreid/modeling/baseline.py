"""The baseline network: backbone, head and losses."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastreid.modeling.batch_statistics import Stats, compute_batch_stats
from fastreid.modeling.heads import HeadOutput
from fastreid.modeling.losses.global_batch import all_gather_batch
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.utils.errors import InputError

Losses = dict[str, Tensor]


class Baseline(nn.Module):
    """Backbone and head; returns features in evaluation mode and losses in training mode.

    Args:
        backbone: images (B, 3, H, W) -> feature map (B, C, H', W').
        heads: feature map -> features (B, D); feature map and classes -> `HeadOutput`.
        losses: terms of the training loss, with unique keys.
        pixel_mean: mean of each channel, levels 0..255.
        pixel_std: standard deviation of each channel, levels 0..255, above 0.

    Raises:
        InputError: there is no loss, two losses have the same key, or the pixel statistics are invalid.
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
        self.backbone = backbone
        self.heads = heads
        self.losses = tuple(losses)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, images: Tensor, targets: Tensor | None = None, *, with_stats: bool = False
    ) -> Tensor | Losses | tuple[Losses, Stats]:
        """Compute the features of images or, in training mode, the losses.

        Args:
            images: float32 (B, 3, H, W), RGB, 0..255; not modified.
            targets: int64 (B,), classes; required in training mode, not allowed otherwise.
            with_stats: in training mode, also return statistics of the batch.

        Returns:
            Evaluation mode: features (B, D), not normalized. Training mode: the losses by key, multiplied by their
            scale, over the batch of this process; their pairs are searched in the global batch. With stats: a
            tuple of these losses and the statistics of the batch (`fastreid.modeling.batch_statistics` and those of the
            losses), without gradient, on the device.

        Raises:
            InputError: images or targets have the wrong shape, or targets are missing or not allowed.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images must be float32 (B, 3, H, W), RGB, 0..255, not {tuple(images.shape)}")
        if self.training:
            targets = _check_targets(targets, images)
            output = self.heads(self._backbone_maps(images), targets)
            apply = self._loss_inputs(output, targets)
            losses = {term.key: term.scale * apply[term.inputs](term.function) for term in self.losses}
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
        return {
            "logits": lambda function: function(output.logits, output.target_columns),
            "features": lambda function: function(output.features, targets),
            "pairs": lambda function: function(output.features, targets, global_batch=global_batch),
        }

    def _backbone_maps(self, images: Tensor) -> Tensor:
        maps: Tensor = self.backbone((images - self.pixel_mean) / self.pixel_std)
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
