"""Where a run's numbers go: `metrics.json` and TensorBoard."""

import json
from collections.abc import Mapping
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

        self._events = SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(name, value, iteration)

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
        self._events.add_image(name, pixels, iteration, dataformats="HWC")

    def close(self) -> None:
        self._events.close()


def _is_before(line: str, iteration: int) -> bool:
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError:  # the last line of a run that was killed while writing it
        return False
    return isinstance(values, dict) and values.get("iteration", iteration + 1) <= iteration
