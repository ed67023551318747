"""Which weight moves at which rate and decays how much."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class ParameterRates:
    """The rates of a run.

    Args:
        base_lr: learning rate of a weight after warm-up.
        heads_factor: times `base_lr` below `heads`.
        bias_factor: times `base_lr` for parameters named bias.
        weight_decay: L2 on weights.
        norm_decay: L2 on the weights of norm layers.
        bias_decay: L2 on parameters named bias, those of norm layers too.
        factors: beginning of a name, such as "backbone.layer1." -> times the rate of what is below; see
            `fastreid.solver.layerwise_lr`.
    """

    base_lr: float
    heads_factor: float = 1.0
    bias_factor: float = 1.0
    weight_decay: float = 0.0
    norm_decay: float = 0.0
    bias_decay: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str, *, in_norm: bool) -> tuple[float, float]:
        """Learning rate and weight decay of a parameter by its full name."""
        is_bias = name.rpartition(".")[2] == "bias"
        lr = self.base_lr * (self.bias_factor if is_bias else 1.0)
        lr *= self.heads_factor if name.startswith("heads.") else 1.0
        lr *= next((factor for start, factor in self.factors.items() if name.startswith(start)), 1.0)
        if is_bias:
            return lr, self.bias_decay
        return lr, self.norm_decay if in_norm else self.weight_decay


def parameter_groups(model: nn.Module, rates: ParameterRates) -> list[dict]:
    """Optimizer groups, one for each pair of rate and decay, holding what can train, in the model's order.

    Each group is {"params": [...], "names": [...], "lr": ..., "base_lr": ..., "weight_decay": ...}.
    """
    groups: dict[tuple[float, float], dict] = {}
    for prefix, module in model.named_modules():
        for short, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{short}" if prefix else short
            if not parameter.requires_grad:
                continue
            lr, decay = rates.of(name, in_norm=isinstance(module, NORMS))
            group = groups.setdefault(
                (lr, decay), {"params": [], "names": [], "lr": lr, "base_lr": lr, "weight_decay": decay}
            )
            group["params"].append(parameter)
            group["names"].append(name)
    return list(groups.values())
