"""Freeze layers during the first iterations."""

from collections.abc import Sequence

from torch import nn

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils.errors import InputError, describe_unknown
from fastreid.utils.logger import get_logger


class FreezeLayers(Hook):
    """Freeze top-level children of the model during the first iterations of a run.

    Args:
        children: names of the children.
        iterations: number of iterations; a resumed run does not freeze again after them.
    """

    def __init__(self, children: Sequence[str], iterations: int):
        self.children = tuple(children)
        self.iterations = iterations

    def before_train(self, loop: TrainLoop) -> None:
        self.check(loop.step.model)

    def check(self, model: nn.Module) -> None:
        """Check that the model has these children and that others remain to train.

        Raises:
            InputError: a child does not exist, or all children would be frozen.
        """
        known = [name for name, _ in model.named_children()]
        for child in self.children:
            if child not in known:
                raise InputError(describe_unknown("MODEL.FREEZE_LAYERS", child, known))
        if self.iterations and set(self.children) >= set(known):
            raise InputError(
                f"MODEL.FREEZE_LAYERS contains all parts of the model ({', '.join(known)}); remove at least one"
            )

    def before_step(self, loop: TrainLoop) -> None:
        is_frozen = loop.iteration < self.iterations
        if loop.iteration == self.iterations and loop.step.frozen:
            get_logger().info(f"iteration {loop.iteration}: {', '.join(self.children)} unfrozen")
        loop.step.freeze(self.children if is_frozen else ())
