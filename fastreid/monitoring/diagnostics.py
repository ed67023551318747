"""Detect problems of a training run early: collapsed features, constant losses, dead gradients, chance accuracy."""

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from torch import nn

COLLAPSE_TOLERANCE = 0.02  # maximum relative distance of a loss from its value for collapsed features
MIN_FEATURE_SPREAD = 0.02  # below this spread of directions, all pairs of drawings have a cosine above 0.9992
MIN_FEATURE_NORM = 0.01  # mean length of the features
CHANCE_GRACE_EPOCHS = 3  # epochs after warm-up and freezing before chance-level accuracy is reported
NUM_STANDARD_ERRORS = 3.0  # an accuracy up to this far above chance counts as chance
SILENT_PERIODS = 20  # periods before the same warning is repeated
MAX_NAMES_SHOWN = 3


class TrainingDiagnostics:
    """Check the values of every step, and describe each problem that lasted a whole period.

    A warning contains the observation and a suggestion. The same warning is repeated after `SILENT_PERIODS` periods at
    the earliest. The values are those that each step reports anyway, so no check waits for the device.

    Args:
        period: steps per check.
        collapse_values: name of a loss -> its value when all features are equal.
        num_classes: classes that a drawing is classified into in one step.
        settle_steps: steps at the start of the run (warm-up, freezing) that do not count for chance-level accuracy;
            `CHANCE_GRACE_EPOCHS` epochs are added to them.
        iters_per_epoch: iterations per epoch.
    """

    def __init__(
        self,
        *,
        period: int,
        collapse_values: Mapping[str, float],
        num_classes: int,
        iters_per_epoch: int,
        settle_steps: int = 0,
    ):
        self.period = period
        self.collapse_values = dict(collapse_values)
        self.num_classes = num_classes
        self.iters_per_epoch = iters_per_epoch
        self.settle_steps = settle_steps
        self._window: dict[str, list[float]] = {}
        self._num_steps = 0
        self._silent_until: dict[str, int] = {}

    def update(self, iteration: int, values: Mapping[str, float], *, model: nn.Module, batch_size: int) -> list[str]:
        """Add the values of one step and return the warnings, if the step completes a period.

        Args:
            iteration: iterations completed.
            values: what the step reported, by name.
            model: the model being trained; read only to name parameters without gradients.
            batch_size: drawings of the step over all processes.

        Returns:
            One line per problem, without the iteration; empty if there is none or the period is incomplete.
        """
        self._num_steps += 1
        for name, value in values.items():
            if math.isfinite(value):
                self._window.setdefault(name, []).append(value)
        if iteration % self.period:
            return []
        # A resumed run can start within a period, which is then too short to judge.
        warnings = self._check(iteration, model, batch_size) if self._num_steps == self.period else []
        self._window, self._num_steps = {}, 0
        return warnings

    def _check(self, iteration: int, model: nn.Module, batch_size: int) -> list[str]:
        checks: dict[str, Callable[[], str]] = {
            "collapse": self._describe_collapse,
            "stuck": self._describe_constant_loss,
            "dead": lambda: self._describe_dead_gradients(model),
            "easy": self._describe_inactive_triplets,
            "chance": lambda: self._describe_chance_accuracy(iteration, batch_size),
        }
        warnings = []
        for name, check in checks.items():
            message = check() if self._silent_until.get(name, 0) <= iteration else ""
            if message:
                warnings.append(f"for {self.period} steps {message}")
                self._silent_until[name] = iteration + SILENT_PERIODS * self.period
        return warnings

    def _throughout(self, name: str, condition: Callable[[float], bool]) -> bool:
        """Return whether a value fulfilled a condition in every step of the period."""
        values = self._window.get(name, ())
        return len(values) == self.period and all(map(condition, values))

    def _describe_collapse(self) -> str:
        is_one_direction = self._throughout("feature_spread", lambda spread: spread < MIN_FEATURE_SPREAD)
        if not is_one_direction and not self._throughout("feature_norm", lambda norm: norm < MIN_FEATURE_NORM):
            return ""
        median = {name: statistics.median(self._window[name]) for name in ("feature_spread", "feature_norm")}
        return (
            f"all features have been one point (spread {median['feature_spread']:.2g}, "
            f"length {median['feature_norm']:.2g}); restart from an earlier checkpoint with a lower SOLVER.BASE_LR or "
            "a longer SOLVER.WARMUP_ITERS, or set MODEL.LOSSES.TRI.HARD_MINING False"
        )

    def _describe_constant_loss(self) -> str:
        names = [
            name for name in self.collapse_values if self._throughout(name, functools.partial(self._is_near, name))
        ]
        if not names:
            return ""
        return (
            f"{names[0]} has stayed at {self.collapse_values[names[0]]:.3g}, its value when positives and negatives "
            "are equally far; try a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_ITERS, "
            "MODEL.LOSSES.TRI.HARD_MINING False, or MODEL.WEIGHTS trained with CrossEntropyLoss"
        )

    def _is_near(self, name: str, loss: float) -> bool:
        return abs(loss - self.collapse_values[name]) <= COLLAPSE_TOLERANCE * self.collapse_values[name]

    def _describe_dead_gradients(self, model: nn.Module) -> str:
        if not self._throughout("dead_gradients", lambda number: number > 0):
            return ""
        dead = [
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and (weight.grad is None or not weight.grad.any())
        ]
        names = ", ".join(dead[:MAX_NAMES_SHOWN]) + (", ..." if len(dead) > MAX_NAMES_SHOWN else "")
        return (
            f"{len(dead)} weights had a gradient of zero or none ({names}); check for a part that the losses do not "
            "reach, a layer whose outputs are all 0 (lower SOLVER.BASE_LR), or float16 (SOLVER.AMP.DTYPE bfloat16)"
        )

    def _describe_inactive_triplets(self) -> str:
        if not self._throughout("active_triplets", lambda share: share == 0):
            return ""
        return (
            "no triplet was active, so the triplet loss has no gradient; try MODEL.LOSSES.TRI.HARD_MINING True, "
            "a larger MODEL.LOSSES.TRI.MARGIN, DATALOADER.HARD_IDENTITIES, or more patents per batch"
        )

    def _describe_chance_accuracy(self, iteration: int, batch_size: int) -> str:
        """Compare the mean accuracy with the binomial interval around 1 / num_classes."""
        values: Sequence[float] = self._window.get("cls_accuracy", ())
        first_step = self.settle_steps + CHANCE_GRACE_EPOCHS * self.iters_per_epoch
        if iteration - self.period < first_step or self.num_classes < 2 or not values:
            return ""
        chance = 1 / self.num_classes
        error = math.sqrt(chance * (1 - chance) / (len(values) * batch_size))
        accuracy = statistics.fmean(values)
        if accuracy > chance + NUM_STANDARD_ERRORS * error:
            return ""
        return (
            f"the classifier was at chance (accuracy {100 * accuracy:.2g} %, {self.num_classes} patents per step); try "
            "another SOLVER.BASE_LR, less augmentation (INPUT) or a smaller MODEL.HEADS.MARGIN, and check the input "
            "images in TensorBoard"
        )
