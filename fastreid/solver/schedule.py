"""Learning-rate schedules as pure functions of the iteration, so there is no state to save or restore."""

import abc
import math
from dataclasses import dataclass

from fastreid.utils.errors import InputError

WARMUP_METHODS = ("linear", "constant", "exp")


def resolve_duration(duration: float, run_length: int) -> int:
    """Return a duration as a count.

    Args:
        duration: a count (iterations or epochs); below 1, a ratio of the run, which is at least 1 unless it is 0.
        run_length: iterations or epochs of the run.
    """
    if duration >= 1:
        return int(duration)
    return max(1, round(duration * run_length)) if duration > 0 else 0


@dataclass(frozen=True)
class Warmup:
    """Warm-up of the learning rate in the first iterations.

    Args:
        iterations: length of the warm-up; 0 for none.
        factor: factor of the learning rate at iteration 0.
        method: linear, constant (`factor` during the whole warm-up) or exp (geometric).

    Raises:
        InputError: the method is unknown.
    """

    iterations: int = 0
    factor: float = 0.1
    method: str = "linear"

    def __post_init__(self) -> None:
        if self.method not in WARMUP_METHODS:
            raise InputError(f"SOLVER.WARMUP_METHOD '{self.method}' is unknown; available: {', '.join(WARMUP_METHODS)}")

    def factor_at(self, iteration: int) -> float:
        """Return the factor (0..1) of the learning rate at an iteration, counted from 0."""
        if iteration >= self.iterations:
            return 1.0
        progress = iteration / self.iterations
        if self.method == "linear":
            return self.factor * (1 - progress) + progress
        return self.factor if self.method == "constant" else self.factor ** (1 - progress)


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """Warm-up per iteration, followed by a decay per epoch.

    As in fast-reid, the decay starts when both the warm-up and the delay are over: milestones are counted from there,
    and a cosine reaches its minimum in the last epoch.

    Args:
        iters_per_epoch: iterations per epoch.
        max_epochs: epochs of the run.
        warmup: warm-up of the first iterations.
        delay_epochs: minimum number of epochs before the decay starts.
    """

    iters_per_epoch: int
    max_epochs: int
    warmup: Warmup = Warmup()
    delay_epochs: int = 0

    @property
    def warmup_epochs(self) -> int:
        return math.ceil(self.warmup.iterations / self.iters_per_epoch)

    def num_decay_epochs(self, iteration: int) -> int:
        """Return the number of completed epochs of decay at an iteration."""
        num_delayed = max(self.delay_epochs, self.warmup_epochs - 1)
        return max(0, iteration // self.iters_per_epoch - num_delayed)

    @abc.abstractmethod
    def decayed_lr(self, base_lr: float, epochs: int) -> float:
        """Return the learning rate after a number of epochs of decay, without warm-up."""

    def lr(self, base_lr: float, iteration: int) -> float:
        """Return the learning rate of a group with rate `base_lr` at an iteration, counted from 0."""
        return self.warmup.factor_at(iteration) * self.decayed_lr(base_lr, self.num_decay_epochs(iteration))


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Cosine decay from the base rate to `eta_min` (Loshchilov and Hutter: SGDR, 2017, without restarts).

    Args:
        eta_min: learning rate at the end; a lower base rate is kept.
    """

    eta_min: float = 0.0

    def decayed_lr(self, base_lr: float, epochs: int) -> float:
        period = self.max_epochs - max(self.warmup_epochs, self.delay_epochs)
        if period <= 0:  # the run ends before the decay starts
            return base_lr
        eta_min = min(self.eta_min, base_lr)  # never increases a lower rate, such as 0 for a frozen stage
        return eta_min + (base_lr - eta_min) * (1 + math.cos(math.pi * min(epochs / period, 1.0))) / 2


@dataclass(frozen=True)
class MultiStepSchedule(Schedule):
    """Multiply the learning rate by `gamma` at each milestone.

    Args:
        steps: milestones, in epochs of decay.
        gamma: factor at each milestone.
    """

    steps: tuple[int, ...] = ()
    gamma: float = 0.1

    def decayed_lr(self, base_lr: float, epochs: int) -> float:
        return base_lr * self.gamma ** sum(epochs >= step for step in self.steps)
