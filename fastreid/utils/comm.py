"""What the processes of one run say to each other; one process alone is a run of size 1."""

from typing import Any, TypeVar

import torch
import torch.distributed as dist

Thing = TypeVar("Thing")


def world_size() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 for the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this process writes files and speaks."""
    return rank() == 0


def gather(thing: Thing) -> list[Thing]:
    """Every process's `thing`, in order of rank, in every process. Whatever can be pickled."""
    if world_size() == 1:
        return [thing]
    everyone: list[Any] = [None] * world_size()
    dist.all_gather_object(everyone, thing)
    return everyone


def from_main(thing: Thing) -> Thing:
    """Process 0's `thing`, in every process. Whatever can be pickled."""
    if world_size() == 1:
        return thing
    box: list[Any] = [thing]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def anyone(flag: bool) -> bool:
    """Whether the flag is set in any process; every process must ask."""
    if world_size() == 1:
        return flag
    count = torch.tensor(int(flag))
    dist.all_reduce(count)
    return bool(count)


def share_buffers(model: torch.nn.Module) -> None:
    """Give every process the buffers (batch-norm statistics) of process 0, so that all hold the same model."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
