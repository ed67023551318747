"""A loss as the network uses it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class LossTerm:
    """One summand of the training loss.

    Args:
        key: its name in the loss dict, such as "loss_cls".
        function: (B, .) scores or features and (B,) int64 classes -> a scalar, the mean over the B drawings; one that
            sees pairs takes the batch of all processes as `whole` beside them.
        sees: "logits" (class scores with margin), "features" (as NECK_FEAT says) or "pairs" of those.
        scale: its weight in the sum, above 0.
        told: the same arguments -> further numbers of the batch for the log, by name, without gradient; None: none.
        collapsed: what the function gives when all features are one point, where that is a number to watch for.

    Raises:
        InputError: a scale that is not above 0.
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
                f"the SCALE of {self.key} is above 0, not {self.scale}; leave the loss out of NAME instead"
            )
