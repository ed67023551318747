"""Optimizers whose whole step is one kernel, where torch has them: the same numbers within rounding, in less time."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from fastreid.utils.errors import InputError


def fuses(optimizer: type[torch.optim.Optimizer]) -> bool:
    """Whether torch has a fused form of an optimizer."""
    return "fused" in inspect.signature(optimizer).parameters


def fusing(
    optimizer: type[torch.optim.Optimizer], arguments: Mapping[str, Any], *, when: str, device: torch.device
) -> dict[str, Any]:
    """The arguments with `fused` among them where it is wanted.

    Args:
        optimizer: a class of torch.optim.
        arguments: of it; one that says `fused` or `foreach` itself is left alone.
        when: auto (on CUDA, where the optimizer has it), always or never.
        device: where the weights are.

    Raises:
        InputError: `always`, of an optimizer that has no fused form.
    """
    if when == "always" and not fuses(optimizer):
        raise InputError(f"SOLVER.FUSED is always and torch has no fused {optimizer.__name__}; set it to auto")
    wanted = when == "always" or (when == "auto" and device.type == "cuda" and fuses(optimizer))
    return dict(arguments) if not wanted or {"fused", "foreach"} & arguments.keys() else {**arguments, "fused": True}


def with_own_fusing(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's saved state with `fused` as this one has it, since torch would take the saved one.

    A run may go on on another device; where the counts of steps lie depends on it.
    """
    own = optimizer.param_groups
    groups = [
        {**group, "fused": own[place]["fused"]} if place < len(own) and "fused" in own[place] else group
        for place, group in enumerate(state["param_groups"])
    ]
    return {**state, "param_groups": groups}


def keep_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Bring what an optimizer keeps of each weight into the order that the weight has in memory.

    Fused kernels walk memory without a look at strides: momenta saved in another order (MODEL.CHANNELS_LAST may change at
    a resume) would move other numbers than their own.
    """
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
