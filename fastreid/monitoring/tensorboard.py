"""Write the metrics, images and features of a run for TensorBoard.

Scalars are in the groups `train/`, `eval/` and `system/`; images and features keep their names. The Custom Scalars page
shows the main curves first.
"""

import math
import os
import re
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastreid.monitoring.projector import ProjectorData, write_projector_data
from fastreid.monitoring.writers import Writer

EVENT_FILES = "events.out.tfevents.*"
PREVIOUS_FOLDER = "previous_run"  # in OUTPUT_DIR: event files of the run before, which TensorBoard shows as another run
SYSTEM_METRICS = frozenset(
    {"time", "data_time", "eta_seconds", "drawings_per_second", "memory_mb", "cuda_memory_mb", "skipped_steps"}
)


class _PinnedFolder:
    """A path of a folder that stays the same folder if another one gets its name.

    TensorBoard opens its file by name for every write, in a thread. If OUTPUT_DIR is renamed or replaced, it would
    write into a folder of another run or user.

    Args:
        folder: created if missing.

    Attributes:
        path: the path; that of the folder itself without `/proc` (only Linux has it).

    Raises:
        OSError: the folder cannot be created or opened.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self._handle = str(folder), -1
        if sys.platform == "linux":
            self._handle = os.open(folder, os.O_RDONLY)
            path = f"/proc/self/fd/{self._handle}"
            self.path = path if os.path.isdir(path) else self.path

    def close(self) -> None:
        """Release the folder."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


class TensorboardWriter(Writer):
    """Write scalars, images, embeddings and settings as TensorBoard event files in the run's OUTPUT_DIR.

    Each call of `write` is flushed, so that a killed run has the same scalars here as in `metrics.json`. A run that
    starts at iteration 0 in a used folder moves the event files of the earlier run to the folder `previous_run`.

    Args:
        folder: OUTPUT_DIR of the run.
        iteration: iterations completed before this start; events of later iterations are hidden.
        settings: settings of the run by name, for the HPARAMS page.
        score: name of the score that selects the best model. Its maximum is written as `eval/best NAME`, by which the
            HPARAMS page compares runs; "": none.
        best: maximum of that score before this start; below 0: there was no evaluation.
    """

    uses_folder = True

    def __init__(
        self,
        folder: str | Path,
        *,
        iteration: int = 0,
        settings: Mapping[str, str | int | float] | None = None,
        score: str = "",
        best: float = -1.0,
    ):
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import; only the main process needs it
        from torch.utils.tensorboard.summary import hparams

        self.folder = Path(folder)
        self.target = f"TensorBoard's events in {folder}"
        self._score, self._best = score, best if best >= 0 else -math.inf
        self._score_names: Collection[str] = ()
        best_tag = f"eval/best {score}"
        self._events: SummaryWriter | None = None
        self._pinned: _PinnedFolder | None = None
        self._previous_hook = threading.excepthook
        threading.excepthook = self._ignore_write_errors
        with self.tolerate_write_errors():
            if iteration == 0:
                _archive_events(self.folder)
            self._pinned = _PinnedFolder(self.folder)
            self._events = SummaryWriter(self._pinned.path, purge_step=iteration + 1)
            self._events.add_custom_scalars(_build_layout(score))
        # SummaryWriter.add_hparams would create a second run; here the settings join the run with the scalars.
        experiment, start, self._end = hparams(  # type: ignore[no-untyped-call]  # torch has no annotation
            dict(settings or {}), {best_tag: 0.0} if score else {}
        )
        self._add_summaries(experiment, start)

    def on_scores(self, scores: Mapping[str, float]) -> None:
        """Receive the scores of an evaluation."""
        self._score_names = frozenset(scores)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write the metrics as scalars in their groups, and flush."""
        scalars = {self._tag(name): value for name, value in values.items()}
        if self._score in self._score_names:
            self._best = max(self._best, values[self._score])
            scalars[f"eval/best {self._score}"] = self._best
        with self.tolerate_write_errors():
            if self._events is not None:
                for tag, value in scalars.items():
                    self._events.add_scalar(tag, value, iteration)
                self._events.flush()

    def add_image(self, iteration: int, name: str, image: Image.Image) -> None:
        """Write an image in RGB."""
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
        with self.tolerate_write_errors():
            if self._events is not None:
                self._events.add_image(name, pixels, iteration, dataformats="HWC")

    def add_embedding(self, iteration: int, name: str, data: ProjectorData) -> None:
        """Write the files of the projector."""
        with self.tolerate_write_errors():
            write_projector_data(self.folder, iteration, name, data)

    def close(self, *, finished: bool) -> None:
        """Mark a finished run as successful and close the event file."""
        if finished:
            self._add_summaries(self._end)
        with self.tolerate_write_errors():
            try:
                if self._events is not None:
                    self._events.close()
            finally:
                if self._pinned is not None:
                    self._pinned.close()
        if threading.excepthook == self._ignore_write_errors:
            threading.excepthook = self._previous_hook

    def _ignore_write_errors(self, failure: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's thread: its error is raised again by the next call, which warns."""
        is_from_events = type(failure.thread).__module__.startswith("tensorboard.")
        if not (is_from_events and isinstance(failure.exc_value, OSError)):
            self._previous_hook(failure)

    def _tag(self, name: str) -> str:
        if name in self._score_names:
            return f"eval/{name}"
        return f"system/{name}" if name in SYSTEM_METRICS else f"train/{name}"

    def _add_summaries(self, *summaries: Any) -> None:
        with self.tolerate_write_errors():
            event_file: Any = None if self._events is None else self._events.file_writer  # declared as None in torch
            if event_file is not None:
                for summary in summaries:
                    event_file.add_summary(summary)


def _archive_events(folder: Path) -> None:
    """Move the event files of an earlier run to PREVIOUS_FOLDER; those of the run before that are deleted."""
    files = sorted(folder.glob(EVENT_FILES))
    if not files:
        return
    archive = folder / PREVIOUS_FOLDER
    archive.mkdir(exist_ok=True)
    for path in archive.glob(EVENT_FILES):
        path.unlink()
    for path in files:
        path.replace(archive / path.name)


def _build_layout(score: str) -> dict[str, dict[str, list[Any]]]:
    """Return the charts of the Custom Scalars page: the losses, the selecting score, the learning rate."""
    charts: dict[str, list[Any]] = {"loss": ["Multiline", ["^train/(total_loss|loss_.*)$"]]}
    if score:
        charts[score] = ["Multiline", [f"^eval/(best )?{re.escape(score)}$"]]
    charts["training accuracy"] = ["Multiline", ["^train/cls_accuracy$"]]
    charts["learning rate"] = ["Multiline", ["^train/lr$"]]
    return {"main curves": charts}
