"""Learning rates by depth: what is near the image moves less than what is near the head."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from fastreid.utils.errors import InputError, suggest


def stage_factors(model: nn.Module, *, decay: float = 1.0, table: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Beginning of a parameter's name -> times the rate, for the stages of the backbone; nothing where all are 1.

    The last stage gets `decay`, the one before it `decay` squared, and so on down to the stem, as in Clark et al.:
    ELECTRA (2020), section 3.1, where the layers of a language model do. The head keeps its rate.

    Args:
        model: its `backbone` tells its `stages`, name -> children, from the image on.
        decay: of each stage, 0..1.
        table: stage -> factor, which counts instead of that of `decay`.

    Raises:
        InputError: the backbone does not tell its stages, or the table names one there is not, or no number.
    """
    table = table or {}
    if decay == 1.0 and not table:
        return {}
    backbone: Any = dict(model.named_children()).get("backbone")
    if not hasattr(backbone, "stages"):
        raise InputError(
            "SOLVER.LAYER_DECAY and STAGE_FACTORS are for a backbone that tells its stages, as build_resnet_backbone "
            "does; set LAYER_DECAY to 1 and leave STAGE_FACTORS out"
        )
    stages: Mapping[str, tuple[str, ...]] = backbone.stages
    for name, factor in table.items():
        if name not in stages:
            raise InputError(f"SOLVER.STAGE_FACTORS: the backbone has no stage '{name}'.{suggest(name, stages)}")
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or factor < 0:
            raise InputError(f"SOLVER.STAGE_FACTORS.{name} is {factor!r}; it takes a number of 0 or more")
    decayed = {name: decay ** (len(stages) - place) for place, name in enumerate(stages)}
    return {
        f"backbone.{child}.": float(table.get(name, decayed[name]))
        for name, children in stages.items()
        for child in children
    }
