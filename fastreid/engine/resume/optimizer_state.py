"""Compare the optimizer state of a checkpoint with the optimizer that will use it.

torch checks only the numbers of groups and parameters, and fails later, or computes other updates, if the rest differs.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastreid.engine.resume.checkpoint_values import is_number, show_value

DEVICE_OPTIONS = ("fused", "foreach", "capturable")  # may differ between devices; the results are the same
VARIABLE_OPTIONS = ("params", "lr", *DEVICE_OPTIONS)
TENSOR_BYTES = 300  # a tensor in a file of torch.save needs these in addition to its values
PROBE_SIZES = (2, 3, 5, 7, 11)  # distinct, so that the dimensions of a state tensor can be recognized


def describe_size_change(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> str:
    """Return how the numbers of groups and parameters differ from those of an optimizer; "" if they are equal.

    They differ if another version of this package or of timm has trained or frozen other parameters.

    Args:
        state: `optimizer` of a checkpoint without value faults.
        optimizer: the optimizer of the run.
    """
    loaded, groups = state["param_groups"], optimizer.param_groups
    if len(loaded) != len(groups):
        return f"optimizer.param_groups has {len(loaded)} groups, not {len(groups)}"
    for index, (old, new) in enumerate(zip(loaded, groups)):
        if len(old["params"]) != len(new["params"]):
            key = f"optimizer.param_groups[{index}].params"
            return f"{key} has {len(old['params'])} parameters, not {len(new['params'])}"
    return ""


def find_optimizer_faults(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> list[str]:
    """Return what in the state of a checkpoint does not fit an optimizer, one line each.

    Args:
        state: `optimizer` of a checkpoint without value faults, for which `describe_size_change` returns "".
        optimizer: the optimizer of the run, whose options other than the learning rate are those of the config.
    """
    loaded, groups = state["param_groups"], optimizer.param_groups
    faults = []
    parameters: dict[int, tuple[Tensor, int]] = {}  # number of a parameter in the file -> parameter, group
    for index, (old, new) in enumerate(zip(loaded, groups)):
        key = f"optimizer.param_groups[{index}]"
        if old["lr"] < 0:
            faults.append(f"{key}.lr is {show_value(old['lr'])}, not 0 or more")
        for name in (name for name in new if name not in VARIABLE_OPTIONS):
            if name not in old:
                faults.append(f"{key}.{name} is missing")
            elif not _is_equal_option(old[name], new[name]):
                faults.append(f"{key}.{name} is {show_value(old[name])}, not {show_value(new[name])}")
        parameters |= {number: (parameter, index) for number, parameter in zip(old["params"], new["params"])}
    if len(parameters) != sum(len(group["params"]) for group in loaded):
        faults.append("optimizer.param_groups contains a parameter twice")
    return faults or list(_find_state_faults(state["state"], parameters, optimizer))


def estimate_state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return the size in a file of the tensors that an optimizer keeps for its parameters after their first step."""
    num_bytes = 0
    for index, group in enumerate(optimizer.param_groups):
        probes: dict[int, dict[str, Any]] = {}
        for parameter in group["params"]:
            ndim = max(parameter.ndim, 1)
            if ndim not in probes:
                probes[ndim] = _probe_state(optimizer, index, ndim)
            for probe in (value for value in probes[ndim].values() if isinstance(value, Tensor)):
                shape = _scale_probe(probe, parameter)
                num_bytes += math.prod(shape) * (parameter if shape else probe).element_size() + TENSOR_BYTES
    return num_bytes


def _scale_probe(probe: Tensor, parameter: Tensor) -> tuple[int, ...]:
    """Return the shape of a state tensor of a parameter, given that of a probe with dimensions PROBE_SIZES."""
    return tuple(size if kept > 1 else 1 for size, kept in zip(parameter.shape, probe.shape))


def _find_state_faults(
    states: Mapping[int, Mapping[str, Any]],
    parameters: Mapping[int, tuple[Tensor, int]],
    optimizer: torch.optim.Optimizer,
) -> Iterator[str]:
    probes: dict[tuple[int, int], dict[str, Any]] = {}
    for number, values in states.items():
        key = f"optimizer.state[{number}]"
        if number not in parameters:
            yield f"{key} belongs to no parameter"
            continue
        parameter, group = parameters[number]
        ndim = max(parameter.ndim, 1)  # of the probe: with 0, `exp_avg` could not be distinguished from `step`
        if (group, ndim) not in probes:
            probes[group, ndim] = _probe_state(optimizer, group, ndim)
        expected = probes[group, ndim]
        if values.keys() != expected.keys():
            yield f"{key} has the values {sorted(map(str, values))}, not {sorted(expected)}"
            continue
        for name, value in values.items():
            yield from _find_value_faults(f"{key}.{name}", value, expected[name], parameter)


def _find_value_faults(key: str, value: Any, probe: Any, parameter: Tensor) -> Iterator[str]:
    """Yield the faults of one value, given the value of a probe with dimensions PROBE_SIZES."""
    is_scalar = not isinstance(probe, Tensor) or probe.ndim == 0
    if is_scalar and isinstance(value, Tensor) and value.ndim == 0:
        value = value.item()
    if is_scalar:
        if probe is not None and not (is_number(value) and value >= 0):
            yield f"{key} is {show_value(value)}, not a finite number of 0 or more"
        return
    shape = _scale_probe(probe, parameter)
    if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
        yield f"{key} is {show_value(value)}, not a tensor float {'x'.join(map(str, shape)) or 'a scalar'}"
    elif value.isnan().any():
        yield f"{key} contains NaN"


def _probe_state(optimizer: torch.optim.Optimizer, group: int, ndim: int) -> dict[str, Any]:
    """Return the state that an optimizer of this class and these options has after one step of a small parameter."""
    parameter = nn.Parameter(torch.zeros(PROBE_SIZES[:ndim]))
    parameter.grad = torch.zeros_like(parameter)
    accepted = inspect.signature(type(optimizer)).parameters.keys() - {"params", *DEVICE_OPTIONS}
    options = {**optimizer.defaults, **optimizer.param_groups[group]}
    probe = type(optimizer)([parameter], **{name: options[name] for name in accepted if name in options})
    probe.step()
    return dict(probe.state[parameter])


def _is_equal_option(old: Any, new: Any) -> bool:
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        return len(old) == len(new) and all(map(_is_equal_option, old, new))
    return type(old) is type(new) and bool(old == new)
