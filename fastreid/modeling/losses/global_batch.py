"""The batch that pairs are sought in: that of all processes of a run."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.layers.precision import upcast_half
from fastreid.utils import comm


@dataclass(frozen=True)
class GlobalBatch:
    """All drawings of a step, with which those of this process are compared.

    Args:
        features: (N, D), with gradient, also to the drawings of other processes.
        targets: (N,) int64 classes.
        first: the row at which this process's drawings begin.
    """

    features: Tensor
    targets: Tensor
    first: int = 0

    def self_mask(self, num: int) -> Tensor:
        """True where a drawing of this process's `num` meets itself: (num, N)."""
        own = torch.arange(self.first, self.first + num, device=self.targets.device)
        return own[:, None] == torch.arange(len(self.targets), device=self.targets.device)


def all_gather_batch(features: Tensor, targets: Tensor) -> GlobalBatch:
    """The batch of all processes, from each one's features (B, D) and classes (B,), as many in each.

    The mean over processes of a loss that each takes over its own B drawings is then the loss of the whole batch, and
    so is the mean of the gradients.
    """
    return GlobalBatch(comm.all_gather_rows(upcast_half(features)), comm.all_gather_rows(targets), comm.get_rank() * len(targets))
