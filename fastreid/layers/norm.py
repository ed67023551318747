"""Normalisation layers by the names the config uses."""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as TorchSync

from fastreid.layers.precision import widened
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry

NormMaker = Callable[[int], nn.Module]

GROUPS = 32  # of group normalisation
MOMENTUM = 0.1  # share of a batch in the running statistics
GHOST_BATCH = 32  # drawings that share statistics in ghost batch normalisation


class FrozenBN(nn.BatchNorm2d):
    """Batch normalisation that keeps its statistics, scale and shift as they were loaded, in training too."""

    def __init__(self, num_channels: int):
        super().__init__(num_channels)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenBN":
        return super().train(False)


class GhostBN(nn.BatchNorm2d):
    """Batch normalisation over groups of at most `ghost_batch` drawings, as if the batch were smaller.

    Hoffer, Hubara, Soudry: Train longer, generalize better (2017). The running statistics move by the mean of the
    groups'; with `momentum` None they are the plain mean over all batches. When not training it is plain batch
    normalisation.

    Raises:
        InputError: a group of less than 2 drawings.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, *, ghost_batch: int = GHOST_BATCH):
        super().__init__(num_channels, momentum=MOMENTUM)
        if ghost_batch < 2:
            raise InputError(f"ghost batch normalisation needs groups of 2 drawings at least, not {ghost_batch}")
        self.ghost_batch = ghost_batch

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) <= self.ghost_batch:
            return super().forward(input)
        groups = input.tensor_split(-(-len(input) // self.ghost_batch))
        means, variances = torch.zeros(2, len(groups), self.num_features, dtype=self.weight.dtype, device=input.device)
        outputs = [
            F.batch_norm(group, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for group, mean, variance in zip(groups, means, variances, strict=True)
        ]
        _move(self, means.mean(dim=0), variances.mean(dim=0))
        return torch.cat(outputs)


class SyncBN(nn.BatchNorm2d):
    """Batch normalisation by the statistics of the drawings of all processes, so that their number changes nothing.

    On GPUs the work is that of torch's SyncBatchNorm, which is not made for the CPU; there it takes two rounds of
    messages a layer, for tests more than for speed.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int):
        super().__init__(num_channels, momentum=MOMENTUM)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or comm.world_size() == 1:
            return super().forward(input)
        return self._on_cpu(input) if input.device.type == "cpu" else self._on_gpu(input)

    def _on_cpu(self, input: Tensor) -> Tensor:
        maps = widened(input)
        count = maps.numel() // maps.shape[1] * comm.world_size()
        mean = comm.sum_over(maps.sum((0, 2, 3))) / count
        centred = maps - mean[:, None, None]
        variance = comm.sum_over(centred.square().sum((0, 2, 3))) / count
        _move(self, mean, variance * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _on_gpu(self, input: Tensor) -> Tensor:
        return TorchSync.apply(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.eps,
            _count(self),
            dist.group.WORLD,
            comm.world_size(),
        )


@torch.no_grad()
def _move(norm: GhostBN | SyncBN, mean: Tensor, variance: Tensor) -> None:
    """Let a norm's running statistics follow a batch."""
    share = _count(norm)
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)


def _count(norm: GhostBN | SyncBN) -> float:
    """Count a batch; its share in the running statistics, which are plain means over all batches with `momentum` None."""
    norm.num_batches_tracked.add_(1)
    return 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum


class IBN(nn.Module):
    """Instance normalisation for the first half of the channels, the named norm for the rest (IBN-a).

    Pan, Luo, Shi, Tang: Two at once, enhancing learning and generalization capacities via IBN-Net (2018).

    Args:
        num_channels: C; the first int(C / 2) are normalised drawing by drawing.
        norm: maker of the norm for the others.
    """

    def __init__(self, num_channels: int, norm: NormMaker = nn.BatchNorm2d):
        super().__init__()
        self.num_instance = num_channels // 2
        self.IN = nn.InstanceNorm2d(self.num_instance, affine=True)
        self.BN = norm(num_channels - self.num_instance)

    def forward(self, maps: Tensor) -> Tensor:
        # split, not two slices: its gradient is one tensor, where those of slices are two filled up with zeros and a sum.
        first, rest = maps.split([self.num_instance, maps.shape[1] - self.num_instance], dim=1)
        return torch.cat([self.IN(first), self.BN(rest)], dim=1)


def group_norm(num_channels: int) -> nn.GroupNorm:
    """Group normalisation with 32 groups; refuses a width that 32 does not divide."""
    if num_channels % GROUPS:
        raise InputError(f"group normalisation needs a multiple of {GROUPS} channels, not {num_channels}; choose BN")
    return nn.GroupNorm(GROUPS, num_channels)


def freeze_bias(norm: nn.Module) -> nn.Module:
    """Keep a norm's shift at its value: it stays in the checkpoint and does not train. Returns the norm."""
    if isinstance(norm.bias, nn.Parameter):
        norm.bias.requires_grad_(False)
    return norm


NORMS: Registry[NormMaker] = Registry(
    "norm",
    {
        "BN": nn.BatchNorm2d,
        "syncBN": SyncBN,
        "FrozenBN": FrozenBN,
        "GhostBN": GhostBN,
        "GN": group_norm,
    },
)
