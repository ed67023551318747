"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from fastreid.utils import comm
from fastreid.utils.logger import get_logger, is_quiet


class _Bar(tqdm):  # type: ignore[misc]
    """A bar of one process.

    tqdm's own lock is a semaphore for several processes, which a killed process of a run leaves behind: Python then
    warns after the message of the run.
    """


_Bar.set_lock(threading.RLock())


@contextlib.contextmanager
def show_progress(
    description: str, *, unit: str, seconds_per_line: float = 30.0, delay_s: float = 0.0, num_done: int = 0
) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr of the main process while the block runs; nothing with --quiet.

    If stderr is not a terminal, a log line gives the progress, the speed and the remaining time at most once in
    `seconds_per_line`, so that the log of a job shows that it is running.

    Args:
        description: what is done, such as "rendering drawings".
        unit: of the numbers, singular, such as "patent" or "MB".
        seconds_per_line: smallest time between two lines.
        delay_s: seconds without a bar, so that short work shows none.
        num_done: units that are finished before the block, as in a resumed run.

    Yields:
        A function to call with the number of finished units and the total number; 0: unknown.
    """
    start, plural = time.monotonic(), unit if unit.isupper() else f"{unit}s"
    latest, num_before = start, num_done
    is_hidden = is_quiet() or not comm.is_main_process()
    options = {"desc": description, "leave": False, "initial": num_before, "delay": delay_s}
    with _Bar(disable=is_hidden or None, unit=f" {unit}", **options, **_default_size()) as bar:

        def update(num_done: int, num: int) -> None:
            nonlocal latest
            bar.total = num or None
            bar.update(num_done - bar.n)
            now = time.monotonic()
            if bar.disable and now - latest >= seconds_per_line:
                bar.n = num_done
                latest = now
                speed = (num_done - num_before) / max(now - start, 1e-3)
                left = datetime.timedelta(seconds=int((num - num_done) / speed)) if num and speed else None
                speed_unit = f" {unit}" if unit.isupper() else ""
                get_logger().info(
                    f"{description}: {num_done}{f' of {num}' if num else ''} {plural}, {speed:.3g}{speed_unit} per s"
                    f"{'' if left is None else f', {left} left'}"
                )

        yield update


def _default_size() -> dict[str, int]:
    """Return the size to assume for a terminal that reports 0 x 0, such as that of `script`: tqdm would show no bar."""
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # not a terminal, or a replaced or closed stderr
        return {}
    return {} if columns and lines else {"ncols": 80, "nrows": 24}
