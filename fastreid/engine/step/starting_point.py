"""Keep the backbone near the weights from which a run starts."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class StartingPointDecay:
    """Decay the distance of the backbone's parameters to their values at the start of the run.

    L2-SP of Li, Grandvalet, Davoine: Explicit inductive bias for transfer learning with convolutional networks (2018).
    The penalty strength / 2 * |w - w_start|^2 is decoupled from the gradients, as weight decay in AdamW: before each
    update, w <- w - lr * strength * (w - w_start) with the learning rate of the parameter. For SGD without momentum
    this is the gradient of the penalty; adaptive optimizers would rescale that gradient.

    Args:
        strength: at least 0.

    Attributes:
        starts: start value of each parameter by name; empty before the first update of the run.
    """

    def __init__(self, strength: float):
        self.strength = strength
        self.starts: dict[str, Tensor] = {}

    @torch.no_grad()
    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the parameters towards their start values; the first call of a run stores these.

        Args:
            optimizer: its parameter groups have "params", "names" and "lr", as `build_parameter_groups` returns them.
        """
        for group in optimizer.param_groups:
            parameters = select_backbone(group)
            for name, parameter in parameters.items():
                start = self.starts.get(name, parameter)
                if start is parameter or start.device != parameter.device:  # a checkpoint is loaded on the CPU
                    self.starts[name] = start.detach().to(parameter.device, copy=True)
            if parameters:
                starts = [self.starts[name] for name in parameters]
                torch._foreach_lerp_(list(parameters.values()), starts, group["lr"] * self.strength)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return dict(self.starts)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the state of a checkpoint."""
        self.starts = dict(state)


def select_backbone(group: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the parameters of the backbone in a parameter group, by name."""
    pairs = zip(group["names"], group["params"])
    return {name: parameter for name, parameter in pairs if name.startswith("backbone.")}
