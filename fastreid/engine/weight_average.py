"""A mean of the weights that a run passes through, which often scores better than the last of them."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Follows a model's weights and batch-norm statistics.

    "ema": an exponential mean, moved at every step by 1 - decay; the n-th step by 1 - min(decay, (1 + n) / (10 + n)), so
    that the fresh weights a run began with do not stay in it. "swa": the plain mean of the weights at the ends of epochs
    (Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018). Counts, such as those of
    batches, are the model's own.

    Args:
        model: what is followed; a copy of it holds the mean.
        method: ema or swa.
        decay: of ema, 0..1.
        start: steps of the run before the first that counts.
        iters_per_epoch: steps of an epoch.

    Attributes:
        model: the copy with the mean; of no use while `num_averaged` is 0.
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
        """Take in the weights after a step."""
        self.num_steps += 1
        if self.num_steps <= self.start or (self.method == "swa" and self.num_steps % self.iters_per_epoch):
            return
        n = self.num_averaged
        share = 1 / (n + 1) if self.method == "swa" else 1 - min(self.decay, (1 + n) / (10 + n))
        pairs = list(_paired_tensors(self.model, model))
        mine, theirs = ([pair[side] for pair in pairs if pair[0].is_floating_point()] for side in (0, 1))
        torch._foreach_lerp_(mine, theirs, share if n else 1.0)
        for whole, current in pairs:
            if not whole.is_floating_point():
                whole.copy_(current)
        self.num_averaged += 1

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "num_steps": self.num_steps, "num_counted": self.num_averaged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.num_steps, self.num_averaged = state["num_steps"], state["num_counted"]


def _paired_tensors(one: nn.Module, other: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """The weights and buffers of two models of one kind, side by side."""
    theirs = other.state_dict()
    return ((value, theirs[name]) for name, value in one.state_dict().items())
