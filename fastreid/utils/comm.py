"""Communication between the processes of a run; a single process is a run of world size 1."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def get_world_size() -> int:
    """Return the number of processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    """Return the process rank; the main process has rank 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Return whether this process writes files and console output."""
    return get_rank() == 0


def all_gather_object(value: T) -> list[T]:
    """Return the values from every process, in order of process rank, in every process; they must be picklable."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def broadcast_object(value: T) -> T:
    """Return the value of the main process in every process; it must be picklable."""
    if get_world_size() == 1:
        return value
    values: list[T] = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def all_reduce_mean(values: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each value over all processes; a NaN or Inf in one process reaches all.

    Args:
        values: the same names in the same order in every process.
    """
    if get_world_size() == 1:
        return dict(values)
    sums = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(sums)
    return dict(zip(values, (sums / get_world_size()).tolist()))


def all_gather_rows(rows: Tensor) -> Tensor:
    """Return the rows from every process, in order of process rank, in every process.

    Args:
        rows: (B, ...), the same shape in every process.

    Returns:
        (N B, ...) for N processes. The gradient of a row is the sum of its gradients in all processes.
    """
    return rows if get_world_size() == 1 else _AllGatherRows.apply(rows)


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, in every process; its gradient is the sum of their gradients."""
    return values if get_world_size() == 1 else _AllReduceSum.apply(values)


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Copy the buffers (batch-norm statistics) of the main process to all, so that every process has the same model."""
    if get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


class _AllGatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        parts = list(gradient.contiguous().chunk(get_world_size()))
        own = torch.empty_like(parts[0])
        dist.reduce_scatter(own, parts)
        return own


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _all_reduce_copy(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _all_reduce_copy(gradient)


def _all_reduce_copy(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total
