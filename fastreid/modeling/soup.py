"""The weighted mean of the weights of several networks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastreid.utils.errors import WeightsError
from fastreid.utils.text import format_faults

State = Mapping[str, Tensor]


def average_states(
    states: Mapping[str, State], weights: Sequence[float], *, may_drop: str = "", why_drop: str = ""
) -> tuple[dict[str, Tensor], str]:
    """Return the weighted mean of the weights of networks with the same architecture.

    Floating-point tensors are averaged in float64 and get the dtype of the first network. Others, such as the counters
    of batch norm, are those of the first network.

    Args:
        states: state dict of each network by the name of its file, as `extract_model_state` returns it.
        weights: weight of each network, at least 0; they are divided by their sum, which is above 0.
        may_drop: tensor that is omitted if not all networks have it with the same shape.
        why_drop: why it is omitted even then; "": it is kept.

    Returns:
        The averaged state dict, and why `may_drop` was omitted; "" if it was not.

    Raises:
        WeightsError: other tensors differ in name, shape or kind; one line for each.
    """
    (first_name, first), *others = states.items()
    mismatches: dict[str, str] = {}
    for other_name, other in others:
        for name in [*first, *(name for name in other if name not in first)]:
            difference = _describe_difference(first.get(name), other.get(name))
            if difference and name not in mismatches:
                mismatches[name] = f"{name}: {difference[0]} in {first_name}, {difference[1]} in {other_name}"
    dropped = mismatches.pop(may_drop, "")
    if why_drop and may_drop in first:
        dropped = dropped or f"{may_drop}: {why_drop}"
    if mismatches:
        heading = "the files belong to different networks; average checkpoints of the same network"
        raise WeightsError(format_faults(list(mismatches.values()), heading))
    shares = [weight / sum(weights) for weight in weights]
    names = [name for name in first if not (dropped and name == may_drop)]
    return {name: _average([state[name] for state in states.values()], shares) for name in names}, dropped


def _average(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    if not tensors[0].is_floating_point():
        return tensors[0]
    total = torch.zeros_like(tensors[0], dtype=torch.float64)
    for tensor, share in zip(tensors, shares):
        total += share * tensor.double()
    return total.to(tensors[0].dtype)


def _describe_difference(first: Tensor | None, other: Tensor | None) -> tuple[str, str] | None:
    kinds = [None if tensor is None else (tensor.shape, tensor.is_floating_point()) for tensor in (first, other)]
    return None if kinds[0] == kinds[1] else (_describe(first), _describe(other))


def _describe(tensor: Tensor | None) -> str:
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape)) or 'scalar'}"
