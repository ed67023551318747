"""What the processes of one run say to each other; one process alone is a run of size 1."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def get_world_size() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    """This process's number, 0 for the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    """Whether this process writes files and speaks."""
    return get_rank() == 0


def all_gather_object(thing: T) -> list[T]:
    """Every process's `thing`, in order of rank, in every process. Whatever can be pickled."""
    if get_world_size() == 1:
        return [thing]
    everyone: list[Any] = [None] * get_world_size()
    dist.all_gather_object(everyone, thing)
    return everyone


def broadcast_object(thing: T) -> T:
    """Process 0's `thing`, in every process. Whatever can be pickled."""
    if get_world_size() == 1:
        return thing
    box: list[Any] = [thing]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def all_reduce_mean(values: Mapping[str, float]) -> dict[str, float]:
    """The mean of each value over the processes, which all give the same names; a NaN or Inf of one is everyone's."""
    if get_world_size() == 1:
        return dict(values)
    sums = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(sums)
    return dict(zip(values, (sums / get_world_size()).tolist()))


def all_gather_rows(rows: Tensor) -> Tensor:
    """The rows (B, ...) of every process, in order of rank, in every process: (N B, ...); each gives as many.

    A row's gradient is the sum of those it has in all processes.
    """
    return rows if get_world_size() == 1 else _AllGatherRows.apply(rows)


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of a tensor over the processes, in every process; its gradient is the sum of theirs."""
    return values if get_world_size() == 1 else _AllReduceSum.apply(values)


def broadcast_buffers(model: torch.nn.Module) -> None:
    """Give every process the buffers (batch-norm statistics) of process 0, so that all hold the same model."""
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
    whole = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(whole)
    return whole
