"""Where a run's numbers go: what every writer is, and the files that every run has, `metrics.json` and `metrics.csv`."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from fastreid.monitoring.projector import Points
from fastreid.utils.cli import one_line
from fastreid.utils.errors import StorageError
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger

METRICS_FILE = "metrics.json"
TABLE_FILE = "metrics.csv"


class Writer:
    """Takes a line of numbers, and now and then more. Each method does nothing unless overridden.

    A writer that cannot write says so once and lets the run go on: `writing` does that.
    """

    place = ""  # where it writes, for its warning
    faults: tuple[type[Exception], ...] = (OSError, StorageError)  # that the run goes on after
    failed = False  # whether that warning was given

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """A line; `iteration` steps are done."""

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        """A picture to look at."""

    def points(self, iteration: int, name: str, points: Points) -> None:
        """Features of drawings, and how these look."""

    def evaluated(self) -> None:
        """After the line that has the scores of an evaluation."""

    def close(self, *, finished: bool) -> None:
        """Once, whatever ended the run; `finished` when it was its last step."""

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around what may fail, as a full disk does: the run is worth more than its log."""
        try:
            yield
        except self.faults as error:
            why = f"{self.place}: cannot be written ({getattr(error, 'strerror', None) or one_line(error)})"
            if not self.failed:
                told = one_line(error) if isinstance(error, StorageError) else why  # which says all of that itself
                get_logger().warning(f"{told}; training goes on without it")
            self.failed = True


class JSONWriter(Writer):
    """`metrics.json`: one JSON object a line, `iteration` counting steps done.

    Args:
        folder: the run's OUTPUT_DIR.
        iteration: steps done before; later lines, of a run that was stopped, are taken out.
    """

    def __init__(self, folder: str | Path, *, iteration: int = 0):
        self.path = Path(folder) / METRICS_FILE
        self.place = str(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            lines = _lines(self.path)
            damaged = [
                number for number, line in enumerate(lines[:-1], 1) if not _values(line)
            ]  # a kill tears the last
            if damaged:
                numbers = ", ".join(map(str, damaged[:5]))
                get_logger().warning(f"{self.path}: {len(damaged)} damaged lines are left out, first {numbers}")
            kept = [line for line in lines if _values(line).get("iteration", iteration + 1) <= iteration]
            write_text(self.path, "".join(f"{line}\n" for line in kept))

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        line = json.dumps({"iteration": iteration, **values}, sort_keys=True)
        with self.writing(), self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


class CSVWriter(Writer):
    """`metrics.csv`: the lines of `metrics.json` as a table, made anew at each evaluation and at the end.

    What is written follows from `metrics.json` alone, so a run that was stopped and went on leaves the bytes of one that
    was not. Columns are those of all lines, `iteration` first and then by name; what a line lacks is empty.

    Args:
        folder: the run's OUTPUT_DIR.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.place = str(self.folder / TABLE_FILE)

    def evaluated(self) -> None:
        with self.writing():
            lines = read_metrics(self.folder)
            columns = ["iteration", *sorted({name for line in lines for name in line} - {"iteration"})]
            text = io.StringIO(newline="")
            table = csv.DictWriter(text, columns, lineterminator="\n")
            table.writeheader()
            table.writerows(lines)
            write_text(self.folder / TABLE_FILE, text.getvalue())

    def close(self, *, finished: bool) -> None:
        self.evaluated()


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The whole lines of a run's `metrics.json`, in the order they were written; none where there is no such file."""
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return []
    return [values for values in map(_values, _lines(path)) if values]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _values(line: str) -> dict[str, float]:
    """The numbers of a line by name; nothing if it is damaged, or torn as the last one of a run that was killed."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):  # whatever damaged bytes lead to
        return {}
    is_whole = isinstance(values, dict) and type(values.get("iteration")) is int
    return {name: value for name, value in values.items() if type(value) in (int, float)} if is_whole else {}
