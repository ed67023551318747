"""Normalization layers and the registry of their config names."""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm as TorchSyncBatchNorm

from fastreid.layers.precision import upcast_half
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry

NormFactory = Callable[[int], nn.Module]

NUM_GROUPS = 32  # of group normalization
MOMENTUM = 0.1  # weight of a batch in the running statistics
GHOST_BATCH_SIZE = 32  # drawings per group in ghost batch normalization


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalization with fixed statistics, weight and bias, also in training mode."""

    def __init__(self, num_channels: int):
        super().__init__(num_channels)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> "FrozenBatchNorm":
        return super().train(False)


class GhostBatchNorm(nn.BatchNorm2d):
    """Batch normalization over groups of at most `ghost_batch_size` drawings, which simulates a smaller batch.

    Hoffer, Hubara, Soudry: Train longer, generalize better (2017). The running statistics are updated with the mean
    over the groups; with `momentum` None they are the mean over all batches. In evaluation mode this is normal batch
    normalization.

    Args:
        num_channels: C.
        ghost_batch_size: maximum number of drawings per group, at least 2.

    Raises:
        InputError: `ghost_batch_size` is less than 2.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int, *, ghost_batch_size: int = GHOST_BATCH_SIZE):
        super().__init__(num_channels, momentum=MOMENTUM)
        if ghost_batch_size < 2:
            raise InputError(f"ghost batch normalization needs groups of at least 2 drawings, not {ghost_batch_size}")
        self.ghost_batch_size = ghost_batch_size

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or len(input) <= self.ghost_batch_size:
            return super().forward(input)
        groups = input.tensor_split(-(-len(input) // self.ghost_batch_size))
        means, variances = torch.zeros(2, len(groups), self.num_features, dtype=self.weight.dtype, device=input.device)
        outputs = [
            F.batch_norm(group, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for group, mean, variance in zip(groups, means, variances, strict=True)
        ]
        _update_running_stats(self, means.mean(dim=0), variances.mean(dim=0))
        return torch.cat(outputs)


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalization with statistics over all processes, so that their number does not change the result.

    On GPUs this uses the kernels of torch's SyncBatchNorm. torch has none for the CPU; the version here needs two
    all-reduce operations per layer and is meant for tests, not for speed.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_channels: int):
        super().__init__(num_channels, momentum=MOMENTUM)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or comm.get_world_size() == 1:
            return super().forward(input)
        return self._on_cpu(input) if input.device.type == "cpu" else self._on_gpu(input)

    def _on_cpu(self, input: Tensor) -> Tensor:
        maps = upcast_half(input)
        count = maps.numel() // maps.shape[1] * comm.get_world_size()
        mean = comm.all_reduce_sum(maps.sum((0, 2, 3))) / count
        centered = maps - mean[:, None, None]
        variance = comm.all_reduce_sum(centered.square().sum((0, 2, 3))) / count
        _update_running_stats(self, mean, variance * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        output: Tensor = (centered * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)
        return output

    def _on_gpu(self, input: Tensor) -> Tensor:
        output: Tensor = TorchSyncBatchNorm.apply(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            self.eps,
            _next_momentum(self),
            dist.group.WORLD,
            comm.get_world_size(),
        )
        return output


@torch.no_grad()
def _update_running_stats(norm: GhostBatchNorm | SyncBatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics of a norm with those of a batch."""
    momentum = _next_momentum(norm)
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)


def _next_momentum(norm: GhostBatchNorm | SyncBatchNorm) -> float:
    """Increment the batch counter and return the weight of this batch in the running statistics."""
    norm.num_batches_tracked.add_(1)
    return 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum


class IBN(nn.Module):
    """IBN-a: instance normalization of the first half of the channels, another norm for the rest.

    Pan, Luo, Shi, Tang: Two at once, enhancing learning and generalization capacities via IBN-Net (2018).

    Args:
        num_channels: C; the first C // 2 channels are normalized per drawing.
        norm: factory of the norm of the other channels.
    """

    def __init__(self, num_channels: int, norm: NormFactory = nn.BatchNorm2d):
        super().__init__()
        self.num_instance = num_channels // 2
        self.IN = nn.InstanceNorm2d(self.num_instance, affine=True)
        self.BN = norm(num_channels - self.num_instance)

    def forward(self, maps: Tensor) -> Tensor:
        # split_with_sizes has one gradient tensor; two slices would have two zero-padded ones and a sum.
        first, rest = maps.split_with_sizes([self.num_instance, maps.shape[1] - self.num_instance], dim=1)
        return torch.cat([self.IN(first), self.BN(rest)], dim=1)


def group_norm(num_channels: int) -> nn.GroupNorm:
    """Return group normalization with 32 groups.

    Raises:
        InputError: the number of channels is not a multiple of 32.
    """
    if num_channels % NUM_GROUPS:
        raise InputError(
            f"group normalization needs a multiple of {NUM_GROUPS} channels, not {num_channels}; use norm BN"
        )
    return nn.GroupNorm(NUM_GROUPS, num_channels)


def freeze_bias(norm: nn.Module) -> nn.Module:
    """Exclude the bias of a norm from training (it stays in the checkpoint) and return the norm."""
    if isinstance(norm.bias, nn.Parameter):
        norm.bias.requires_grad_(False)
    return norm


NORMS: Registry[NormFactory] = Registry(
    "norm",
    {
        "BN": nn.BatchNorm2d,
        "syncBN": SyncBatchNorm,
        "FrozenBN": FrozenBatchNorm,
        "GhostBN": GhostBatchNorm,
        "GN": group_norm,
    },
)
