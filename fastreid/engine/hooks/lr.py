"""Set the learning rates of the optimizer."""

import torch

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.solver.schedule import Schedule


class SetLearningRate(Hook):
    """Set the learning rate of every parameter group before each iteration.

    Args:
        schedule: returns the learning rate of an iteration.
    """

    def __init__(self, schedule: Schedule):
        self.schedule = schedule

    def before_step(self, loop: TrainLoop) -> None:
        for group in loop.step.optimizer.param_groups:
            group["lr"] = self.schedule.lr(group["base_lr"], loop.iteration)


def learning_rate_per_part(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return `lr/PART`, the highest learning rate of each top-level part of the model, if the groups have names."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        for key in {f"lr/{name.partition('.')[0]}" for name in group.get("names", ())}:
            rates[key] = max(rates.get(key, 0.0), group["lr"])
    return rates
