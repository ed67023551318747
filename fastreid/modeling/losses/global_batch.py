"""The global batch (drawings from every process), in which metric losses search pairs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.layers.precision import upcast_half
from fastreid.utils import comm


@dataclass(frozen=True)
class GlobalBatch:
    """The drawings from every process, with which the drawings of this process are compared.

    Args:
        features: (N, D), differentiable, also with respect to the drawings of other processes.
        targets: int64 (N,), classes.
        offset: first row of this process.
    """

    features: Tensor
    targets: Tensor
    offset: int = 0

    def self_mask(self, num: int) -> Tensor:
        """Return the bool mask (num, N) of the pairs of a drawing of this process, of `num`, with itself."""
        rows = torch.arange(self.offset, self.offset + num, device=self.targets.device)
        return rows[:, None] == torch.arange(len(self.targets), device=self.targets.device)


def all_gather_batch(features: Tensor, targets: Tensor) -> GlobalBatch:
    """Gather the batches from every process, which must have the same size.

    If each process computes the loss of the B drawings it holds, the mean over processes is the loss of the global
    batch. The same is true of the gradients.

    Args:
        features: (B, D), features of this process.
        targets: int64 (B,), classes of this process.
    """
    return GlobalBatch(
        comm.all_gather_rows(upcast_half(features)),
        comm.all_gather_rows(targets),
        offset=comm.get_rank() * len(targets),
    )
