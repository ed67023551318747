"""Average the weights over a run, which often gives better scores than the last weights."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of a model's weights and batch-norm statistics over training.

    - "ema": exponential moving average. The n-th update (from 0) has the weight 1 - min(decay, (1 + n) / (10 + n)), so
      the initial weights fade quickly.
    - "swa": plain mean of the weights at the ends of epochs. Izmailov et al., Averaging Weights Leads to Wider Optima
      and Better Generalization, 2018.

    Integer buffers, such as the number of batches, are copied from the model.

    Args:
        model: the model to average; its copy holds the average.
        method: ema or swa.
        decay: decay of ema, 0..1.
        start: iterations of the run before averaging starts.
        iters_per_epoch: iterations per epoch.

    Attributes:
        model: copy of the model with the averaged weights; invalid while `num_averaged` is 0.
        num_averaged: number of updates in the average.
    """

    def __init__(self, model: nn.Module, *, method: str, decay: float, start: int, iters_per_epoch: int):
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.method = method
        self.decay = decay
        self.start = start
        self.iters_per_epoch = iters_per_epoch
        self.num_steps = 0
        self.num_averaged = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average after an iteration.

        Args:
            model: the model with its current weights.
        """
        self.num_steps += 1
        if self.num_steps <= self.start or (self.method == "swa" and self.num_steps % self.iters_per_epoch):
            return
        n = self.num_averaged
        new_weight = 1 / (n + 1) if self.method == "swa" else 1 - min(self.decay, (1 + n) / (10 + n))
        pairs = list(_paired_tensors(self.model, model))
        averages, currents = ([pair[side] for pair in pairs if pair[0].is_floating_point()] for side in (0, 1))
        torch._foreach_lerp_(averages, currents, new_weight if n else 1.0)
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)
        self.num_averaged += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"model": self.model.state_dict(), "num_steps": self.num_steps, "num_averaged": self.num_averaged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.num_steps, self.num_averaged = state["num_steps"], state["num_averaged"]


def _paired_tensors(average: nn.Module, model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Return pairs of the weights and buffers of two models with the same structure."""
    current = model.state_dict()
    return ((value, current[name]) for name, value in average.state_dict().items())
