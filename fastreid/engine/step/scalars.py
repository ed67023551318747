"""Named scalars of a training step, such as losses, on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor

Scalars = dict[str, Tensor]


def to_floats(scalars: Scalars) -> dict[str, float]:
    """Return the values; the host waits for the device once."""
    return dict(zip(scalars, torch.stack(list(scalars.values())).tolist()))


def scale_values(scalars: Scalars, factor: float) -> Scalars:
    """Return the values times a factor, in float32 and without gradient."""
    return {name: value.detach().float() * factor for name, value in scalars.items()}


def sum_values(parts: Sequence[Scalars]) -> Scalars:
    """Return the sum of each value over several parts with the same names."""
    return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
