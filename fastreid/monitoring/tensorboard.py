"""Write the metrics, images and features of a run for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastreid.monitoring.projector import ProjectorData, write_projector_data
from fastreid.monitoring.writers import Writer


class TensorboardWriter(Writer):
    """Write scalars, images, embeddings and settings as TensorBoard event files in the run's OUTPUT_DIR.

    Each call of `write` is flushed, so that a killed run has the same scalars here as in `metrics.json`.

    Args:
        folder: OUTPUT_DIR of the run.
        iteration: iterations completed before this start; events of later iterations are hidden.
        settings: settings of the run by name, for the HPARAMS page.
        metrics: names of the scalars by which the HPARAMS page compares runs.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        iteration: int = 0,
        settings: Mapping[str, str | int | float] | None = None,
        metrics: Sequence[str] = (),
    ):
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import; only the main process needs it
        from torch.utils.tensorboard.summary import hparams

        self.folder = Path(folder)
        self.target = f"TensorBoard's events in {folder}"
        self._events: SummaryWriter | None = None
        with self.tolerate_write_errors():
            self._events = SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)
        # SummaryWriter.add_hparams would create a second run; here the settings join the run with the scalars.
        experiment, start, self._end = hparams(  # type: ignore[no-untyped-call]  # torch has no annotation
            dict(settings or {}), dict.fromkeys(metrics, 0.0)
        )
        self._add_summaries(experiment, start)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write the metrics as scalars and flush."""
        with self.tolerate_write_errors():
            if self._events is not None:
                for name, value in values.items():
                    self._events.add_scalar(name, value, iteration)
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
            if self._events is not None:
                self._events.close()

    def _add_summaries(self, *summaries: Any) -> None:
        with self.tolerate_write_errors():
            event_file: Any = None if self._events is None else self._events.file_writer  # declared as None in torch
            if event_file is not None:
                for summary in summaries:
                    event_file.add_summary(summary)
