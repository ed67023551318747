"""Give the tensors of other projects' files the names of a network."""

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, nn

COUNTER = ".num_batches_tracked"  # missing in files of torch before 0.4.1
PREFIXES = ("backbone.", "encoder.", "base.", "trunk.", "visual.trunk.", "features.", "body.")


def rename_tensors(state: Mapping[str, Tensor], network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Return a state dict with the names of a network, if one of the known renamings fits; otherwise the state itself.

    Tried in this order: names that already fit, without a prefix such as `encoder.`, by the function with which timm
    converts the files of a network's authors, and by position: the same shapes and kinds of tensors in the same order,
    as in files of torchvision and of ports from other frameworks.

    Args:
        state: name -> tensor of the file, without a classifier.
        network: the network.

    Returns:
        The state dict, and what was done, for the log; "" if nothing.
    """
    expected = network.state_dict()
    if _fits(state, expected):
        return dict(state), ""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            stripped = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            if _fits(stripped, expected):
                return stripped, f"without the prefix {prefix}"
    convert = _find_timm_filter(network)
    if convert is not None:
        converted = _apply(convert, state, network)
        if _fits(converted, expected):
            return converted, "converted by timm's filter for this network"
    by_position = _rename_by_position(state, expected)
    if by_position is not None:
        return by_position, "renamed by position: shapes and kinds of all tensors agree in order"
    return dict(state), ""


def _fits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return _without_counters(state) == _without_counters(expected) and all(
        state[name].shape == tensor.shape for name, tensor in expected.items() if name in state
    )


def _without_counters(names: Collection[str]) -> set[str]:
    return {name for name in names if not name.endswith(COUNTER)}


def _find_timm_filter(network: nn.Module) -> Callable[..., Any] | None:
    module = sys.modules.get(type(network).__module__)
    is_timm = type(network).__module__.startswith("timm.")
    return getattr(module, "checkpoint_filter_fn", None) if is_timm else None


def _apply(convert: Callable[..., Any], state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    try:
        converted = convert(dict(state), network)
    except Exception:  # the file is not one of those that timm converts; its filters do not check that
        return {}
    return {str(name): tensor for name, tensor in dict(converted).items()}


def _rename_by_position(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    has_counters = any(name.endswith(COUNTER) for name in state)
    names = list(state)
    targets = [name for name in expected if has_counters or not name.endswith(COUNTER)]
    if len(names) != len(targets):
        return None
    for name, target in zip(names, targets):
        is_same_kind = name.rpartition(".")[2] == target.rpartition(".")[2]
        if not is_same_kind or state[name].shape != expected[target].shape:
            return None
    return {target: state[name] for name, target in zip(names, targets)}
