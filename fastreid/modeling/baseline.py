"""The whole network: backbone, head, losses."""

import functools
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
    """Backbone and head; features when testing, losses when training.

    Args:
        backbone: images (B, 3, H, W) -> map (B, C, H', W').
        heads: map -> features (B, D); map and classes -> `HeadOutput`.
        losses: the summands, each with its own key.
        pixel_mean: per channel, grey levels 0..255, taken off.
        pixel_std: per channel, grey levels 0..255, divided by; above 0.

    Raises:
        InputError: no loss, two with one key, or statistics that are not three numbers a channel.
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
            raise InputError(f"a network trains on one loss or more, each named once, not {keys}")
        if len(pixel_mean) != 3 or len(pixel_std) != 3 or min(pixel_std) <= 0:
            raise InputError(
                "MODEL.PIXEL_MEAN and PIXEL_STD are three numbers each, the latter above 0, "
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
        """Features of images, or in training the losses.

        Args:
            images: float32 (B, 3, H, W), RGB, 0..255; they stay as they were.
            targets: int64 (B,), class numbers; needed in training and only there.
            with_stats: in training, give the stats as well.

        Returns:
            Testing: features (B, D), not normalised to length 1. Training: the losses by key, each times its scale and
            over this process's drawings, whose pairs are sought in the batch of all processes; with stats, a pair of
            those and what `fastreid.modeling.batch_statistics` and the losses tell of the batch, without gradient and left on the
            device.

        Raises:
            InputError: images or targets of another shape, or targets missing or not wanted.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images are float32 (B, 3, H, W), RGB, 0..255, not {tuple(images.shape)}")
        if self.training:
            targets = _check_targets(targets, images)
            output = self.heads(self._backbone_maps(images), targets)
            seen = self._loss_inputs(output, targets)
            losses = {term.key: term.scale * seen[term.inputs](term.function) for term in self.losses}
            if not with_stats:
                return losses
            told = [seen[term.inputs](term.stats_fn) for term in self.losses if term.stats_fn is not None]
            return losses, functools.reduce(lambda one, more: one | more, told, compute_batch_stats(output, targets))
        if targets is not None or with_stats:
            raise InputError("targets and stats belong to training; call model.train() first or leave them out")
        return self.heads(self._backbone_maps(images))

    def _loss_inputs(self, output: HeadOutput, targets: Tensor) -> dict[str, Callable[[Callable], Any]]:
        """What a term sees -> how a function of it is called."""
        of_pairs = any(term.inputs == "pairs" for term in self.losses)
        whole = all_gather_batch(output.features, targets) if of_pairs else None
        return {
            "logits": lambda function: function(output.logits, output.target_columns),
            "features": lambda function: function(output.features, targets),
            "pairs": lambda function: function(output.features, targets, whole=whole),
        }

    def _backbone_maps(self, images: Tensor) -> Tensor:
        return self.backbone((images - self.pixel_mean) / self.pixel_std)


def _check_targets(targets: Tensor | None, images: Tensor) -> Tensor:
    if targets is None or targets.shape != (len(images),) or targets.dtype != torch.int64:
        came = "none" if targets is None else f"{targets.dtype} {tuple(targets.shape)}"
        raise InputError(f"training needs the class of each image, int64 ({len(images)},), not {came}")
    if len(images) < 2:
        raise InputError("training needs 2 images a batch at least: batch norm and pairs mean nothing for one")
    return targets
