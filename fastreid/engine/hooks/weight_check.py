"""Check that the optimizer changes the weights."""

import torch
from torch import nn

from fastreid.engine.step.train_step import TrainStep
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils.errors import NumericalError
from fastreid.utils.logger import get_logger


class CheckWeightUpdates(Hook):
    """Stop a run whose weights do not change.

    Compares every trainable parameter before the first iteration and after `num_steps` iterations, not counting those
    that float16 overflow skipped. Raises NumericalError if no parameter changed, and warns if some did not.

    Args:
        num_steps: iterations until the comparison.
    """

    def __init__(self, num_steps: int = 10):
        self.num_steps = num_steps
        self._initial_weights: dict[str, torch.Tensor] = {}
        self._num_steps_left = 0

    def before_step(self, loop: TrainLoop) -> None:
        if not self._initial_weights and self._num_steps_left == 0 and loop.iteration == 0:
            self._initial_weights = {
                name: parameter.detach().clone() for name, parameter in self._trainable(loop.step.model)
            }
            self._num_steps_left = self.num_steps

    def after_step(self, loop: TrainLoop) -> None:
        if self._num_steps_left > 0 and loop.result is not None and not loop.result.skipped:
            self._num_steps_left -= 1
            if self._num_steps_left == 0:
                self._compare(loop.step)
                self._initial_weights = {}

    def _compare(self, step: TrainStep) -> None:
        initial, trainable = self._initial_weights, dict(self._trainable(step.model))
        unchanged = [
            name
            for name, parameter in trainable.items()
            if name in initial and torch.equal(parameter.detach(), initial[name])
        ]
        if unchanged and len(unchanged) == len(initial):
            raise NumericalError(
                f"no weight changed in {self.num_steps} iterations; check SOLVER.BASE_LR, SOLVER.OPT and "
                "MODEL.FREEZE_LAYERS"
            )
        zero_lr = {id(p) for group in step.optimizer.param_groups if not group["lr"] for p in group["params"]}
        unchanged = [name for name in unchanged if id(trainable[name]) not in zero_lr]  # SOLVER.STAGE_FACTORS allows 0
        if unchanged:
            get_logger().warning(
                f"{len(unchanged)} weights did not change in {self.num_steps} iterations: {', '.join(unchanged[:5])}"
            )

    @staticmethod
    def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
        return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
