"""Trouble told early: features that collapse, losses that stand still, dead gradients, a classifier that learns nothing."""

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils import comm
from fastreid.utils.logger import get_logger

AROUND_COLLAPSE = (
    0.02  # relative distance within which every loss of a period counts as standing at its value of collapse
)
LEAST_SPREAD = 0.02  # of the features' directions; all pairs of drawings then have a cosine above .9992
LEAST_NORM = 0.01  # mean length of the features
LEARNING_EPOCHS = 3  # after warm-up and freeze, before a classifier at chance is told
STANDARD_ERRORS = 3.0  # above chance up to which an accuracy counts as chance
SILENT_PERIODS = 20  # after a warning, before the same one comes again
SHOWN_NAMES = 3

Window = Mapping[str, Sequence[float]]


class WatchForTrouble(Hook):
    """Every `period` steps looks at all of them, and warns in one line of what was wrong throughout.

    A warning says what was seen and what to try. The same one comes again after `SILENT_PERIODS` periods at the
    earliest. Values are those each step tells anyway, so nothing waits for the device.

    Args:
        period: steps.
        collapsed: name of a loss -> what it is when all features are one point.
        num_classes: that a drawing is told from in a step.
        settle_steps: steps of the run in which a classifier may be at chance, beside `LEARNING_EPOCHS`.
    """

    def __init__(self, *, period: int, collapsed: Mapping[str, float], num_classes: int, settle_steps: int = 0):
        self.period = period
        self.collapsed = dict(collapsed)
        self.num_classes = num_classes
        self.settle_steps = settle_steps
        self._window: dict[str, list[float]] = {}
        self._num_steps = 0
        self._silent_until: dict[str, int] = {}

    def after_step(self, loop: TrainLoop) -> None:
        if loop.result is None:
            return
        self._num_steps += 1
        for name, value in loop.result.values.items():
            if math.isfinite(value):
                self._window.setdefault(name, []).append(value)
        if loop.iteration % self.period:
            return
        if self._num_steps == self.period:  # a run that goes on begins anywhere in a period
            self._look(loop)
        self._window, self._num_steps = {}, 0

    def _look(self, loop: TrainLoop) -> None:
        troubles: dict[str, Callable[[TrainLoop], str]] = {
            "collapse": self._features_collapsed,
            "stuck": self._loss_stands,
            "dead": self._gradients_dead,
            "easy": self._triplets_inactive,
            "chance": self._accuracy_at_chance,
        }
        for name, look in troubles.items():
            words = look(loop) if self._silent_until.get(name, 0) <= loop.iteration else ""
            if words:
                get_logger().warning(f"step {loop.iteration}: for {self.period} steps {words}")
                self._silent_until[name] = loop.iteration + SILENT_PERIODS * self.period

    def _throughout(self, name: str, holds: Callable[[float], bool]) -> bool:
        values = self._window.get(name, ())
        return len(values) == self.period and all(map(holds, values))

    def _features_collapsed(self, loop: TrainLoop) -> str:
        one_way = self._throughout("feature_spread", lambda spread: spread < LEAST_SPREAD)
        if not one_way and not self._throughout("feature_norm", lambda norm: norm < LEAST_NORM):
            return ""
        seen = {name: statistics.median(self._window[name]) for name in ("feature_spread", "feature_norm")}
        return (
            f"all features have been one point (spread {seen['feature_spread']:.2g}, length {seen['feature_norm']:.2g}); "
            "go back to an earlier checkpoint with a lower SOLVER.BASE_LR or a longer SOLVER.WARMUP_ITERS, "
            "or set MODEL.LOSSES.TRI.HARD_MINING False"
        )

    def _loss_stands(self, loop: TrainLoop) -> str:
        standing = [name for name in self.collapsed if self._throughout(name, functools.partial(self._near, name))]
        if not standing:
            return ""
        return (
            f"{standing[0]} has stood at {self.collapsed[standing[0]]:.3g}, which it is when positives and negatives are "
            "equally far; try a lower SOLVER.BASE_LR, a longer SOLVER.WARMUP_ITERS, MODEL.LOSSES.TRI.HARD_MINING False, "
            "or MODEL.WEIGHTS that have learnt by CrossEntropyLoss"
        )

    def _near(self, name: str, loss: float) -> bool:
        return abs(loss - self.collapsed[name]) <= AROUND_COLLAPSE * self.collapsed[name]

    def _gradients_dead(self, loop: TrainLoop) -> str:
        if not self._throughout("dead_gradients", lambda number: number > 0):
            return ""
        dead = [
            name
            for name, weight in loop.step.model.named_parameters()
            if weight.requires_grad and (weight.grad is None or not weight.grad.any())
        ]
        names = ", ".join(dead[:SHOWN_NAMES]) + (", ..." if len(dead) > SHOWN_NAMES else "")
        return (
            f"{len(dead)} weights had a gradient of zero or none ({names}); look for a part that the losses do not reach, "
            "a layer whose outputs are all 0 (lower SOLVER.BASE_LR), or float16 (SOLVER.AMP.DTYPE bfloat16)"
        )

    def _triplets_inactive(self, loop: TrainLoop) -> str:
        if not self._throughout("active_triplets", lambda share: share == 0):
            return ""
        return (
            "no triplet was active, so the triplet loss teaches nothing; try MODEL.LOSSES.TRI.HARD_MINING True, a larger "
            "MODEL.LOSSES.TRI.MARGIN, DATALOADER.HARD_IDENTITIES, or more patents a batch"
        )

    def _accuracy_at_chance(self, loop: TrainLoop) -> str:
        values = self._window.get("cls_accuracy", ())
        settled = loop.iteration - self.period >= self.settle_steps + LEARNING_EPOCHS * loop.iters_per_epoch
        if not settled or self.num_classes < 2 or not values or loop.result is None:
            return ""
        chance = 1 / self.num_classes
        error = math.sqrt(chance * (1 - chance) / (len(values) * len(loop.result.batch.rows) * comm.world_size()))
        accuracy = statistics.fmean(values)
        if accuracy > chance + STANDARD_ERRORS * error:
            return ""
        return (
            f"the classifier was at chance (accuracy {100 * accuracy:.2g} %, {self.num_classes} patents a step); try another "
            "SOLVER.BASE_LR, less augmentation (INPUT) or a smaller MODEL.HEADS.MARGIN, and look at TensorBoard's inputs"
        )
