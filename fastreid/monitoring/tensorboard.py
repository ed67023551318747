"""TensorBoard's event files of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastreid.monitoring.projector import Points, write_points
from fastreid.monitoring.writers import Writer


class TensorboardWriter(Writer):
    """Numbers, pictures, points and settings for TensorBoard, in the run's OUTPUT_DIR.

    Every line is flushed: what a killed run leaves here is what it leaves in `metrics.json`.

    Args:
        folder: the run's OUTPUT_DIR.
        iteration: steps done before; what was written of later ones is hidden.
        settings: the run's, by name, for the page that compares runs.
        scores: names of the values that such a comparison is by.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        iteration: int = 0,
        settings: Mapping[str, str | int | float] | None = None,
        scores: Sequence[str] = (),
    ):
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import; only the writing process needs it
        from torch.utils.tensorboard.summary import hparams

        self.folder = Path(folder)
        self.place = f"TensorBoard's events in {folder}"
        self._events: SummaryWriter | None = None
        with self.writing():
            self._events = SummaryWriter(str(folder), purge_step=iteration + 1 if iteration else None)
        # As `add_hparams` does, but beside the run's own scores instead of in a run of its own.
        experiment, begin, self._finish = hparams(dict(settings or {}), dict.fromkeys(scores, 0.0))
        self._add(experiment, begin)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        with self.writing():
            if self._events is not None:
                for name, value in values.items():
                    self._events.add_scalar(name, value, iteration)
                self._events.flush()

    def picture(self, iteration: int, name: str, image: Image.Image) -> None:
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
        with self.writing():
            if self._events is not None:
                self._events.add_image(name, pixels, iteration, dataformats="HWC")

    def points(self, iteration: int, name: str, points: Points) -> None:
        with self.writing():
            write_points(self.folder, iteration, name, points)

    def close(self, *, finished: bool) -> None:
        if finished:
            self._add(self._finish)
        with self.writing():
            if self._events is not None:
                self._events.close()

    def _add(self, *summaries: Any) -> None:
        with self.writing():
            if self._events is not None and self._events.file_writer is not None:
                for summary in summaries:
                    self._events.file_writer.add_summary(summary)
