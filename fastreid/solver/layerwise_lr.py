"""Layer-wise learning-rate decay: lower rates for stages closer to the input."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from fastreid.utils.errors import InputError, describe_unknown


def layerwise_lr_factors(
    model: nn.Module, *, decay: float = 1.0, table: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Return the learning-rate factor of each part of the backbone.

    The last stage gets `decay`, the one before it `decay` squared, and so on down to the stem (Clark et al.: ELECTRA,
    2020, section 3.1, for the layers of a language model). The head keeps its learning rate.

    Args:
        model: model whose `backbone` has a property `stages`: name -> its modules or parameters, in order from the
            input.
        decay: factor between two stages, 0..1.
        table: stage -> factor, which overrides the decay.

    Returns:
        Name of a module or parameter -> factor; empty if all factors are 1.

    Raises:
        InputError: the backbone has no `stages`, or the table contains an unknown stage or an invalid factor.
    """
    table = table or {}
    if decay == 1.0 and not table:
        return {}
    backbone: Any = dict(model.named_children()).get("backbone")
    if not hasattr(backbone, "stages"):
        raise InputError(
            "SOLVER.LAYER_DECAY and STAGE_FACTORS need a backbone with named stages, such as those of timm and ResNet; "
            "set LAYER_DECAY to 1 and remove STAGE_FACTORS"
        )
    stages: Mapping[str, tuple[str, ...]] = backbone.stages
    for name, factor in table.items():
        if name not in stages:
            raise InputError(describe_unknown("SOLVER.STAGE_FACTORS", name, stages))
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or factor < 0:
            raise InputError(f"SOLVER.STAGE_FACTORS.{name} is {factor!r}; it must be a number of at least 0")
    decayed = {name: decay ** (len(stages) - index) for index, name in enumerate(stages)}
    return {
        f"backbone.{child}": float(table.get(name, decayed[name]))
        for name, children in stages.items()
        for child in children
    }
