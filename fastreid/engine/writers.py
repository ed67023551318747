"""Where a run's numbers go: the console, `metrics.json` and TensorBoard."""

import contextlib
import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger

METRICS_FILE = "metrics.json"


class Writer(Protocol):
    """Takes a line of numbers, and now and then a picture."""

    def write(self, iteration: int, values: Mapping[str, float]) -> None: ...

    def picture(self, iteration: int, name: str, image: Image.Image) -> None: ...

    def close(self) -> None: ...


class ConsoleWriter:
    """One line of progress with the time left."""

    def __init__(self, max_iterations: int, iters_per_epoch: int):
        self.max_iterations = max_iterations
        self.iters_per_epoch = iters_per_epoch

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        left = datetime.timedelta(seconds=int(values["eta_seconds"]))
        losses = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if name.startswith("loss_"))
        get_logger().info(
            f"epoch {(iteration - 1) // self.iters_per_epoch + 1}/{self.max_iterations // self.iters_per_epoch}  "
            f"step {iteration}/{self.max_iterations}  total_loss {values['total_loss']:.4g}  {losses}  "
            f"accuracy {100 * values['cls_accuracy']:.1f} %  lr {values['lr']:.3g}  "
            f"{values['time']:.3f} s a step ({values['data_time']:.3f} waiting)  left {left}"
        )

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        """A console shows no pictures."""

    def close(self) -> None:
        """Nothing is open."""


class JSONWriter:
    """`metrics.json`: one JSON object a line, `iteration` counting steps done.

    Args:
        folder: the run's OUTPUT_DIR.
        iteration: steps done before; later lines, of a run that was stopped, are taken out.
    """

    def __init__(self, folder: str | Path, *, iteration: int = 0):
        self.path = Path(folder) / METRICS_FILE
        self._warned = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _is_before(line, iteration)]
            write_text(self.path, "".join(f"{line}\n" for line in kept))

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        line = json.dumps({"iteration": iteration, **values}, sort_keys=True)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
        except OSError as error:
            if not self._warned:
                get_logger().warning(f"{self.path}: cannot be written ({error.strerror}); training goes on without it")
            self._warned = True

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        """A text file holds no pictures."""

    def close(self) -> None:
        """Every line was flushed when it was written."""


class TensorboardWriter:
    """TensorBoard event files in the run's OUTPUT_DIR."""

    def __init__(self, folder: str | Path, *, iteration: int = 0):
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import; only the writing process needs it

        self._place = f"TensorBoard's events in {folder}"
        self._events: SummaryWriter | None = None
        with self._writing():
            self._events = SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        with self._writing():
            for name, value in values.items():
                if self._events is not None:
                    self._events.add_scalar(name, value, iteration)

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
        with self._writing():
            if self._events is not None:
                self._events.add_image(name, pixels, iteration, dataformats="HWC")

    def close(self) -> None:
        with self._writing():
            if self._events is not None:
                self._events.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Around what a full disk refuses: it is told once, and nothing more is written."""
        try:
            yield
        except OSError as error:
            get_logger().warning(f"{self._place}: cannot be written ({error.strerror}); training goes on without it")
            self._events = None


def _is_before(line: str, iteration: int) -> bool:
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError:  # the last line of a run that was killed while writing it
        return False
    return isinstance(values, dict) and values.get("iteration", iteration + 1) <= iteration
