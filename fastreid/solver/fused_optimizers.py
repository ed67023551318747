"""Fused optimizers (one kernel per step) where torch has them: faster, with the same result up to rounding."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from fastreid.utils.errors import InputError


def supports_fused(optimizer: type[torch.optim.Optimizer]) -> bool:
    """Return True if torch has a fused version of an optimizer."""
    return "fused" in inspect.signature(optimizer).parameters


def add_fused_flag(
    optimizer: type[torch.optim.Optimizer], arguments: Mapping[str, Any], *, when: str, device: torch.device
) -> dict[str, Any]:
    """Return the optimizer arguments, with `fused=True` added if requested.

    Args:
        optimizer: a class of torch.optim.
        arguments: its keyword arguments; unchanged if they contain `fused` or `foreach`.
        when: auto (on CUDA if the optimizer supports it), always or never.
        device: device of the weights.

    Raises:
        InputError: `when` is always and the optimizer has no fused version.
    """
    if when == "always" and not supports_fused(optimizer):
        raise InputError(f"SOLVER.FUSED is always, but torch has no fused {optimizer.__name__}; set it to auto")
    is_requested = when == "always" or (when == "auto" and device.type == "cuda" and supports_fused(optimizer))
    if not is_requested or {"fused", "foreach"} & arguments.keys():
        return dict(arguments)
    return {**arguments, "fused": True}


def keep_fused_flags(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return a saved optimizer state with the `fused` flags of `optimizer`; torch would load the saved flags.

    A run may be resumed on another device, and the device of the step counters depends on the flag.
    """
    current = optimizer.param_groups
    groups = [
        {**group, "fused": current[index]["fused"]} if index < len(current) and "fused" in current[index] else group
        for index, group in enumerate(state["param_groups"])
    ]
    return {**state, "param_groups": groups}


def match_memory_layout(optimizer: torch.optim.Optimizer) -> None:
    """Convert the state tensors of an optimizer to the memory format of their parameters.

    Fused kernels ignore strides. Momenta saved in another memory format (MODEL.CHANNELS_LAST may change on resume)
    would be applied to the wrong elements.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
