"""Parameter groups: learning rate and weight decay of each parameter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class ParameterRates:
    """Learning rates and weight decays of a run.

    Args:
        base_lr: learning rate after warm-up.
        heads_factor: factor of `base_lr` for parameters of the head.
        bias_factor: factor of `base_lr` for parameters named bias.
        weight_decay: L2 penalty of weights.
        norm_decay: L2 penalty of the weights of norm layers.
        bias_decay: L2 penalty of parameters named bias, including those of norm layers.
        module_factors: name of a module or parameter, such as "backbone.layer1" -> factor of the learning rate; see
            `fastreid.solver.layerwise_lr`.
        decays_backbone: whether the decays apply to parameters of the backbone; otherwise they are 0.
    """

    base_lr: float
    heads_factor: float = 1.0
    bias_factor: float = 1.0
    weight_decay: float = 0.0
    norm_decay: float = 0.0
    bias_decay: float = 0.0
    module_factors: Mapping[str, float] = field(default_factory=dict)
    decays_backbone: bool = True

    def _module_factor(self, name: str) -> float:
        """Return the factor of the parameter or of the innermost module around it that has one; otherwise 1."""
        while name and name not in self.module_factors:
            name = name.rpartition(".")[0]
        return self.module_factors.get(name, 1.0)

    def lr_and_decay(self, name: str, *, in_norm: bool) -> tuple[float, float]:
        """Return the learning rate and the weight decay of a parameter, given its full name."""
        is_bias = name.rpartition(".")[2] == "bias"
        lr = self.base_lr * (self.bias_factor if is_bias else 1.0)
        lr *= self.heads_factor if name.startswith("heads.") else 1.0
        lr *= self._module_factor(name)
        if name.startswith("backbone.") and not self.decays_backbone:
            return lr, 0.0
        if is_bias:
            return lr, self.bias_decay
        return lr, self.norm_decay if in_norm else self.weight_decay


def build_parameter_groups(model: nn.Module, rates: ParameterRates) -> list[dict[str, Any]]:
    """Group the trainable parameters of a model by learning rate and weight decay.

    Returns:
        Parameter groups {"params": [...], "names": [...], "lr": ..., "base_lr": ..., "weight_decay": ...} for an
        optimizer, in the order of the model.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for prefix, module in model.named_modules():
        for short, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{short}" if prefix else short
            if not parameter.requires_grad:
                continue
            lr, decay = rates.lr_and_decay(name, in_norm=isinstance(module, NORMS))
            group = groups.setdefault(
                (lr, decay), {"params": [], "names": [], "lr": lr, "base_lr": lr, "weight_decay": decay}
            )
            group["params"].append(parameter)
            group["names"].append(name)
    return list(groups.values())
