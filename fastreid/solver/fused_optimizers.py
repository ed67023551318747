"""Fused optimizers (one kernel per step) where torch has them: faster, with the same result up to rounding."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch


def supports_fused(optimizer: type[torch.optim.Optimizer]) -> bool:
    """Return True if torch has a fused version of an optimizer."""
    return "fused" in inspect.signature(optimizer).parameters


def add_fused_flag(
    optimizer: type[torch.optim.Optimizer], arguments: Mapping[str, Any], *, device: torch.device
) -> dict[str, Any]:
    """Return the optimizer arguments, with `fused=True` added on CUDA if the optimizer supports it.

    Args:
        optimizer: a class of torch.optim.
        arguments: its keyword arguments; unchanged if they contain `fused` or `foreach`.
        device: device of the weights.
    """
    if device.type != "cuda" or not supports_fused(optimizer) or {"fused", "foreach"} & arguments.keys():
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
