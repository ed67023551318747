"""Write the metrics of a run: the base class `Writer`, and the writers of `metrics.json` and `metrics.csv`."""

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from fastreid.monitoring.projector import ProjectorData
from fastreid.utils.errors import StorageError
from fastreid.utils.files import append_line, check_own_file, describe_write_error, write_text
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

METRICS_FILE = "metrics.json"
CSV_FILE = "metrics.csv"


class Writer:
    """Receive the metrics of a run. Each method does nothing unless overridden.

    Wrap I/O that can fail in `with self.tolerate_write_errors():`, so that training continues after a failure.
    """

    target = ""  # file or service, for the warning
    folder = Path()  # on the file system whose free space is part of the warning
    tolerated_errors: tuple[type[Exception], ...] = (OSError, StorageError)  # training continues after these
    uses_folder = False  # whether `close` writes to OUTPUT_DIR; it is not called if the run has lost the folder
    has_failed = False  # True after the first failure, which logs the only warning

    def on_step(self, iteration: int, values: Mapping[str, float], seconds: float) -> None:
        """Receive the values of one step as soon as it is done.

        Args:
            iteration: iterations completed.
            values: values of this step by name, not averaged.
            seconds: duration of the step with its wait for data.
        """

    def on_scores(self, scores: Mapping[str, float]) -> None:
        """Receive the scores of an evaluation by name, right before `write` gets them with the other metrics.

        Args:
            scores: the scores; empty if there was no evaluation since the last call.
        """

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write the metrics since the last call, by name; `iteration` iterations are completed."""

    def add_image(self, iteration: int, name: str, image: Image.Image) -> None:
        """Write an image.

        Args:
            iteration: iterations completed.
            name: name of the image.
            image: the image.
        """

    def add_embedding(self, iteration: int, name: str, data: ProjectorData) -> None:
        """Write features of drawings with their thumbnails.

        Args:
            iteration: iterations completed.
            name: name of the features.
            data: features, names and thumbnails of drawings.
        """

    def on_evaluation(self) -> None:
        """Finish an evaluation; called after `write` has received its scores."""

    def close(self, *, finished: bool) -> None:
        """Close all files; called once, however the run ended. `finished` is True after the last iteration."""

    @contextlib.contextmanager
    def tolerate_write_errors(self) -> Iterator[None]:
        """Turn I/O errors in this context into one warning, since training matters more than its log."""
        try:
            yield
        except self.tolerated_errors as error:
            cause = (
                describe_write_error(self.folder / "file", error)
                if isinstance(error, OSError)
                else summarize_error(error)
            )
            reason = f"{self.target}: cannot be written ({cause})"
            if not self.has_failed:
                message = summarize_error(error) if isinstance(error, StorageError) else reason  # already complete
                get_logger().warning(f"{message}; training continues without it")
            self.has_failed = True


class JSONWriter(Writer):
    """Write `metrics.json`: one JSON object per line, with the completed iterations as `iteration`.

    Args:
        folder: OUTPUT_DIR of the run.
        iteration: iterations completed before this start; later lines of a stopped run are removed.
    """

    def __init__(self, folder: str | Path, *, iteration: int = 0):
        self.folder = Path(folder)
        self.path = self.folder / METRICS_FILE
        self.target = str(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        check_own_file(self.path)
        if self.path.is_file():
            lines = _read_lines(self.path)
            complete_lines = lines[:-1]  # a kill can cut off the last line
            damaged = [number for number, line in enumerate(complete_lines, 1) if not _parse_line(line)]
            if damaged:
                numbers = ", ".join(map(str, damaged[:5]))
                get_logger().warning(f"{self.path}: removed {len(damaged)} damaged lines, first {numbers}")
            kept = [line for line in lines if _parse_line(line).get("iteration", iteration + 1) <= iteration]
            write_text(self.path, "".join(f"{line}\n" for line in kept))

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Append a line."""
        line = json.dumps({"iteration": iteration, **values}, sort_keys=True)
        with self.tolerate_write_errors():
            append_line(self.path, line)


class CSVWriter(Writer):
    """Write `metrics.csv`: the lines of `metrics.json` as a table, rewritten after each evaluation and at the end.

    The content depends only on `metrics.json`, so a resumed run writes the same bytes as an uninterrupted one. The
    columns are the names in any line, `iteration` first and the others by name; missing values are empty.

    Args:
        folder: OUTPUT_DIR of the run.
    """

    uses_folder = True

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.target = str(self.folder / CSV_FILE)

    def on_evaluation(self) -> None:
        """Rewrite the table."""
        if not (self.folder / METRICS_FILE).is_file():  # nothing was written, or the folder was removed
            return
        with self.tolerate_write_errors():
            lines = read_metrics(self.folder)
            columns = ["iteration", *sorted({name for line in lines for name in line} - {"iteration"})]
            text = io.StringIO(newline="")
            table = csv.DictWriter(text, columns, lineterminator="\n")
            table.writeheader()
            table.writerows(lines)
            write_text(self.folder / CSV_FILE, text.getvalue())

    def close(self, *, finished: bool) -> None:
        """Rewrite the table."""
        self.on_evaluation()


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """Return the complete lines of a run's `metrics.json` in order; an empty list if there is no such file."""
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        return []
    return [values for values in map(_parse_line, _read_lines(path)) if values]


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _parse_line(line: str) -> dict[str, float]:
    """Return the numbers of a line by name; empty if the line is damaged or cut off."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):  # damaged bytes can cause either
        return {}
    is_complete = isinstance(values, dict) and type(values.get("iteration")) is int
    return {name: value for name, value in values.items() if type(value) in (int, float)} if is_complete else {}
