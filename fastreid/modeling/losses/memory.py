"""A memory of the features of earlier iterations, with which pair losses compare the batch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from fastreid.modeling.losses.global_batch import GlobalBatch
from fastreid.utils.errors import InputError


class MemoryBank:
    """Features and classes of the global batches of earlier iterations, without gradient.

    Wang et al.: Cross-batch memory for embedding learning (2020). The features drift slowly, so those of earlier
    iterations serve as further pairs. When the bank is full, the oldest features are overwritten. Every process has the
    same bank. An iteration calls `discard`, `extend` for each micro-batch, and `commit` after its update, so an
    iteration that fails leaves the bank unchanged.

    Args:
        size: maximum number of features, above 0.
        start: iterations of the run before features are stored.

    Attributes:
        features: (N, D), N <= size; on the device of the batches.
        targets: int64 (N,), their classes.
        num_steps: iterations that are completed.

    Raises:
        InputError: the size is less than 1.
    """

    def __init__(self, size: int, *, start: int = 0):
        if size < 1:
            raise InputError(f"the size of a memory bank must be at least 1, not {size}")
        self.size = size
        self.start = start
        self.features = torch.empty(0, 0)
        self.targets = torch.empty(0, dtype=torch.int64)
        self.num_steps = 0
        self._position = 0  # of the oldest feature when the bank is full
        self._pending: list[GlobalBatch] = []

    def extend(self, batch: GlobalBatch) -> GlobalBatch:
        """Return a batch followed by the features of the bank.

        In training steps, that is with gradients, the batch is stored at the next `commit`.

        Args:
            batch: the global batch.
        """
        if torch.is_grad_enabled() and self.num_steps >= self.start:
            self._pending.append(replace(batch, features=batch.features.detach()))
        if not len(self.targets):
            return batch
        self.features = self.features.to(batch.features.device)  # a checkpoint is loaded on the CPU
        self.targets = self.targets.to(batch.targets.device)
        features = torch.cat([batch.features, self.features.to(batch.features.dtype)])
        return replace(batch, features=features, targets=torch.cat([batch.targets, self.targets]))

    def discard(self) -> None:
        """Discard the batches since the last `commit`."""
        self._pending = []

    @torch.no_grad()
    def commit(self) -> None:
        """Store the batches since the last `commit`; called once per iteration."""
        self.num_steps += 1
        if not self._pending:
            return
        features = torch.cat([batch.features for batch in self._pending])[-self.size :]
        targets = torch.cat([batch.targets for batch in self._pending])[-self.size :]
        self._pending = []
        room = self.size - len(self.targets)
        if room and len(self.targets):
            self.features = torch.cat([self.features, features[:room]])
            self.targets = torch.cat([self.targets, targets[:room]])
        elif room:
            self.features, self.targets = features[:room].clone(), targets[:room].clone()
        num_rest = len(features[room:])
        rows = (self._position + torch.arange(num_rest, device=self.targets.device)) % self.size
        self.features[rows] = features[room:]
        self.targets[rows] = targets[room:]
        self._position = (self._position + num_rest) % self.size

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        state = {"features": self.features, "targets": self.targets}
        return {**state, "position": self._position, "num_steps": self.num_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.features, self.targets = state["features"], state["targets"]
        self._position, self.num_steps = state["position"], state["num_steps"]
        self._pending = []
