"""Show the progress of a training run on the console."""

import datetime
import math
import statistics
import time
from collections import deque
from collections.abc import Mapping

from fastreid.monitoring.writers import Writer
from fastreid.utils.logger import get_logger, show_status

STATUS_INTERVAL_S = 0.2  # minimum seconds between updates of the status line on a terminal
MIN_LINE_INTERVAL_S = 10.0  # minimum seconds between log lines without a terminal; the last line is always shown
MAX_SILENCE_S = 60.0  # maximum seconds without a line
NUM_TIMED_STEPS = 50  # steps whose median time gives the estimate of the remaining time


class ConsoleWriter(Writer):
    """Show the progress: one status line updated in place on a terminal, plain log lines seconds apart elsewhere.

    `log.txt` contains every line.

    Args:
        max_iterations: iterations of the run.
        iters_per_epoch: iterations per epoch.
    """

    def __init__(self, max_iterations: int, iters_per_epoch: int):
        self.max_iterations = max_iterations
        self.iters_per_epoch = iters_per_epoch
        self._seconds: deque[float] = deque(maxlen=NUM_TIMED_STEPS)
        self._shown_at = -math.inf
        self._in_place = False

    def on_step(self, iteration: int, values: Mapping[str, float], seconds: float) -> None:
        """Update the status line, or log a line after a long silence."""
        self._seconds.append(seconds)
        since = time.monotonic() - self._shown_at
        if since < (STATUS_INTERVAL_S if self._in_place else MAX_SILENCE_S):
            return
        step_s = statistics.median(self._seconds)
        line = (
            f"{self._format_progress(iteration)}  total_loss {values['total_loss']:.4g}  "
            f"{step_s:.3f} s a step  left {_format_duration(step_s * (self.max_iterations - iteration))}"
        )
        self._in_place = show_status(line)
        if not self._in_place:
            get_logger().info(line)
        self._shown_at = time.monotonic()

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Log the metrics of an iteration: on the console if the last line is old enough, always in `log.txt`."""
        losses = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name.startswith("loss_"))
        line = (
            f"{self._format_progress(iteration)}  total_loss {values['total_loss']:.4g}  {losses}  "
            f"accuracy {100 * values['cls_accuracy']:.1f} %  lr {values['lr']:.3g}  "
            f"{values['time']:.3f} s a step ({values['data_time']:.3f} waiting)  "
            f"left {_format_duration(values['eta_seconds'])}"
        )
        is_due = time.monotonic() - self._shown_at >= MIN_LINE_INTERVAL_S and not self._in_place
        is_last = iteration == self.max_iterations or not values["eta_seconds"]  # early stopping can end a run
        if is_due or is_last:
            get_logger().info(line)
            self._shown_at = time.monotonic()
        else:
            get_logger().debug(line)

    def close(self, *, finished: bool) -> None:
        """Remove the status line."""
        show_status("")

    def _format_progress(self, iteration: int) -> str:
        epoch, num_epochs = (iteration - 1) // self.iters_per_epoch + 1, self.max_iterations // self.iters_per_epoch
        return f"epoch {epoch}/{num_epochs}  step {iteration}/{self.max_iterations}"


def _format_duration(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=int(seconds))
