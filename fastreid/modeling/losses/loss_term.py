"""A term of the training loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class LossTerm:
    """One term of the training loss.

    Args:
        key: name in the loss dict, such as "loss_cls".
        function: scores or features (B, ...) and int64 classes (B,) -> scalar, the mean over the B drawings. For the
            inputs "pairs" it also takes the keyword argument `global_batch`.
        inputs: "logits" (class scores with margin), "features" (selected by NECK_FEAT), or "pairs" of features.
        scale: weight of the term, above 0.
        stats_fn: optional function of the same arguments -> scalars for the log, by name, without gradient.
        collapse_value: value of the function if all features are equal, to detect collapse; None: not monitored.

    Raises:
        InputError: the scale is not above 0.
    """

    key: str
    function: Callable[..., Tensor]
    inputs: Literal["logits", "features", "pairs"]
    scale: float = 1.0
    stats_fn: Callable[..., dict[str, Tensor]] | None = None
    collapse_value: float | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise InputError(
                f"the SCALE of {self.key} must be above 0, not {self.scale}; to disable the loss, remove it from "
                "MODEL.LOSSES.NAME"
            )
