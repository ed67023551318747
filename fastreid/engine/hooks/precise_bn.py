"""Recompute batch-norm statistics at the end of a run."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.structures import Batch
from fastreid.utils.logger import get_logger


class PreciseBatchNorm(Hook):
    """Recompute the batch-norm statistics after the last epoch as plain means over `num_batches` batches.

    Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3.

    Args:
        load_batches: returns the given number of training batches.
        num_batches: number of batches.
    """

    def __init__(self, load_batches: Callable[[int], Iterable[Batch]], num_batches: int):
        self.load_batches = load_batches
        self.num_batches = num_batches

    def after_epoch(self, loop: TrainLoop) -> None:
        if loop.epoch != loop.max_epochs:
            return
        average = loop.step.average
        for model in (loop.step.model, *([average.model] if average is not None and average.num_averaged else [])):
            self._update_statistics(model, loop.step.device)
        get_logger().info(f"recomputed the batch-norm statistics over {self.num_batches} batches")

    def _update_statistics(self, model: nn.Module, device: torch.device) -> None:
        model.train()
        norms = [
            module
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training  # FrozenBatchNorm never is
        ]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch then computes the plain mean over batches
        with torch.no_grad():
            for batch in self.load_batches(self.num_batches):
                batch = batch.to(device)
                model(batch.images, batch.targets)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
