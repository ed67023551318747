"""The learning rate as a pure function of the iteration: nothing is stepped, saved or restored."""

import abc
import math
from dataclasses import dataclass

from fastreid.utils.errors import InputError

WARMUP_METHODS = ("linear", "constant", "exp")


@dataclass(frozen=True)
class Warmup:
    """How the first iterations approach the full rate.

    Args:
        iterations: length of the warm-up; 0 for none.
        factor: share of the full rate at iteration 0.
        method: linear, constant (the factor all the way) or exp (geometric).
    """

    iterations: int = 0
    factor: float = 0.1
    method: str = "linear"

    def __post_init__(self) -> None:
        if self.method not in WARMUP_METHODS:
            raise InputError(f"no warm-up is called '{self.method}'. Known: {', '.join(WARMUP_METHODS)}.")

    def share(self, iteration: int) -> float:
        """The share of the full rate, 0..1, at an iteration counted from 0."""
        if iteration >= self.iterations:
            return 1.0
        progress = iteration / self.iterations
        if self.method == "linear":
            return self.factor * (1 - progress) + progress
        return self.factor if self.method == "constant" else self.factor ** (1 - progress)


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """Warm-up by iteration, then a decay that moves once an epoch.

    As in fast-reid the decay's clock starts only when both the warm-up and the delay are over, so a milestone of
    `steps` counts epochs from there, and a cosine reaches its end with the last epoch.

    Args:
        iters_per_epoch: iterations of an epoch.
        max_epochs: epochs of the run.
        warmup: the first iterations.
        delay_epochs: epochs the full rate is kept at least.
    """

    iters_per_epoch: int
    max_epochs: int
    warmup: Warmup = Warmup()
    delay_epochs: int = 0

    @property
    def warmup_epochs(self) -> int:
        return math.ceil(self.warmup.iterations / self.iters_per_epoch)

    def decay_epochs(self, iteration: int) -> int:
        """Epochs the decay's clock has run at an iteration."""
        waited = max(self.delay_epochs, self.warmup_epochs - 1)
        return max(0, iteration // self.iters_per_epoch - waited)

    @abc.abstractmethod
    def decayed(self, base_lr: float, epochs: int) -> float:
        """The full rate after some epochs of decay."""

    def lr(self, base_lr: float, iteration: int) -> float:
        """The learning rate in effect at an iteration counted from 0, for a group whose full rate is `base_lr`."""
        return self.warmup.share(iteration) * self.decayed(base_lr, self.decay_epochs(iteration))


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Half a cosine from the full rate to `eta_min` (Loshchilov and Hutter 2017, without restarts)."""

    eta_min: float = 0.0

    def decayed(self, base_lr: float, epochs: int) -> float:
        period = self.max_epochs - max(self.warmup_epochs, self.delay_epochs)
        if period <= 0:  # the run ends before the decay starts
            return base_lr
        least = min(self.eta_min, base_lr)  # a group whose rate is lower, such as a stage at rest, is not raised
        return least + (base_lr - least) * (1 + math.cos(math.pi * min(epochs / period, 1.0))) / 2


@dataclass(frozen=True)
class MultiStepSchedule(Schedule):
    """Times `gamma` at each milestone, in epochs of decay."""

    steps: tuple[int, ...] = ()
    gamma: float = 0.1

    def decayed(self, base_lr: float, epochs: int) -> float:
        return base_lr * self.gamma ** sum(epochs >= step for step in self.steps)
