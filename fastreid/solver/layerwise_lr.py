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
    2020, section 3.1, for the layers of a language model). The head keeps its learning rate. Stages behind the last one
    with a trainable parameter, such as those behind the last used map of a timm network, do not count.

    Args:
        model: model whose `backbone` has a property `stages`: name -> its modules or parameters, in order from the
            input.
        decay: factor between two stages, 0..1.
        table: stage -> factor, which overrides the decay.

    Returns:
        Name of a module or parameter -> factor; empty if all factors are 1.

    Raises:
        InputError: the backbone has no `stages`, or the table contains an unknown or unused stage or an invalid factor.
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
    used = _drop_unused_stages(stages, backbone)
    for name, factor in table.items():
        if name not in stages:
            raise InputError(describe_unknown("SOLVER.STAGE_FACTORS", name, stages))
        if name not in used:
            raise InputError(
                f"SOLVER.STAGE_FACTORS.{name} has no effect: {name} is behind the last used stage {list(used)[-1]}; "
                "remove it"
            )
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or factor < 0:
            raise InputError(f"SOLVER.STAGE_FACTORS.{name} is {factor!r}; it must be a number of at least 0")
    decayed = {name: decay ** (len(used) - index) for index, name in enumerate(used)}
    return {
        f"backbone.{child}": float(table.get(name, decayed[name]))
        for name, children in used.items()
        for child in children
    }


def _drop_unused_stages(stages: Mapping[str, tuple[str, ...]], backbone: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the stages up to the last one with a trainable parameter; all stages if the backbone is frozen."""
    trainable = set()
    for name, parameter in backbone.named_parameters():
        while parameter.requires_grad and name and name not in trainable:
            trainable.add(name)
            name = name.rpartition(".")[0]
    last = max((row for row, children in enumerate(stages.values()) if trainable & set(children)), default=len(stages))
    return dict(list(stages.items())[: last + 1])
