"""The console of a training run: one line of progress, not a flood."""

import datetime
import math
import statistics
import time
from collections import deque
from collections.abc import Mapping

from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.monitoring.writers import Writer
from fastreid.utils.logger import get_logger, show_status

RENEWED_S = 0.2  # seconds after which the line on a terminal is renewed
LEAST_APART_S = 10.0  # seconds between plain lines where there is no terminal; the last step's always comes
MOST_APART_S = 60.0  # seconds without a line after which one comes
NUM_STEPS = 50  # steps whose median time tells what is left


class ConsoleWriter(Hook, Writer):
    """Where a run is: in place on a terminal, elsewhere in plain lines some seconds apart; every line is in `log.txt`.

    Args:
        max_iterations: steps of the run.
        iters_per_epoch: steps of an epoch.
    """

    def __init__(self, max_iterations: int, iters_per_epoch: int):
        self.max_iterations = max_iterations
        self.iters_per_epoch = iters_per_epoch
        self._seconds: deque[float] = deque(maxlen=NUM_STEPS)
        self._shown_at = -math.inf
        self._in_place = False

    def after_step(self, loop: TrainLoop) -> None:
        self._seconds.append(loop.step_s)
        since = time.monotonic() - self._shown_at
        if loop.result is None or since < (RENEWED_S if self._in_place else MOST_APART_S):
            return
        step_s = statistics.median(self._seconds)
        line = (
            f"{self._place(loop.iteration)}  total_loss {loop.result.values['total_loss']:.4g}  "
            f"{step_s:.3f} s a step  left {_time(step_s * (self.max_iterations - loop.iteration))}"
        )
        self._in_place = show_status(line)
        if not self._in_place:
            get_logger().info(line)
        self._shown_at = time.monotonic()

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        losses = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name.startswith("loss_"))
        line = (
            f"{self._place(iteration)}  total_loss {values['total_loss']:.4g}  {losses}  "
            f"accuracy {100 * values['cls_accuracy']:.1f} %  lr {values['lr']:.3g}  "
            f"{values['time']:.3f} s a step ({values['data_time']:.3f} waiting)  left {_time(values['eta_seconds'])}"
        )
        due = time.monotonic() - self._shown_at >= LEAST_APART_S and not self._in_place
        is_last = iteration == self.max_iterations or not values["eta_seconds"]  # a run may end early
        if due or is_last:
            get_logger().info(line)
            self._shown_at = time.monotonic()
        else:
            get_logger().debug(line)

    def close(self, *, finished: bool) -> None:
        show_status("")

    def _place(self, iteration: int) -> str:
        epoch, epochs = (iteration - 1) // self.iters_per_epoch + 1, self.max_iterations // self.iters_per_epoch
        return f"epoch {epoch}/{epochs}  step {iteration}/{self.max_iterations}"


def _time(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=int(seconds))
