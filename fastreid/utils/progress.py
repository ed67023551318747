"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

from fastreid.utils.logger import get_logger, is_quiet


@contextlib.contextmanager
def show_progress(
    description: str, *, unit: str, seconds_per_line: float = 30.0
) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr while the block runs; nothing with --quiet.

    If stderr is not a terminal, a log line gives the progress at most once in `seconds_per_line`, so that the log of a
    job shows that it is running.

    Args:
        description: what is done, such as "rendering drawings".
        unit: of the numbers, singular, such as "patent" or "MB".
        seconds_per_line: smallest time between two lines.

    Yields:
        A function to call with the number of finished units and the total number; 0: unknown.
    """
    latest, plural = time.monotonic(), unit if unit.isupper() else f"{unit}s"
    with tqdm(disable=is_quiet() or None, unit=f" {unit}", desc=description, leave=False) as bar:

        def update(num_done: int, num: int) -> None:
            nonlocal latest
            bar.total = num or None
            bar.update(num_done - bar.n)
            now = time.monotonic()
            if bar.disable and now - latest >= seconds_per_line:
                bar.n = num_done
                latest = now
                total = f" of {num}" if num else ""
                get_logger().info(f"{description}: {num_done}{total} {plural}")

        yield update
