"""Write the metrics of a run, and an image of its first batch."""

import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image

from fastreid.engine.checkpoint.checkpointer import Progress
from fastreid.engine.hooks.lr import learning_rate_per_part
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.monitoring.projector import ProjectorData
from fastreid.monitoring.writers import Writer
from fastreid.structures import Batch
from fastreid.utils import comm
from fastreid.utils.errors import StorageError
from fastreid.utils.files import write_text

LAST_VALUE_KEYS = {"lr", "skipped_steps"}  # written with their last value instead of the median


class WriteMetrics(Hook):
    """Write the medians of the metrics every `period` iterations and at the end of each epoch.

    Args:
        writers: receive the metrics; empty on all processes but the main one.
        progress: stores the values that are not written yet, so that a resumed run writes the same lines.
        period: iterations between two lines.
        batch_size: drawings per iteration over all devices.
        check_folder: called before writing; raises StorageError if OUTPUT_DIR is not the one of this run any more.

    Attributes:
        scores: scores of the last evaluation by name, written with the next line.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        progress: Progress,
        *,
        period: int,
        batch_size: int = 0,
        check_folder: Callable[[], None] = lambda: None,
    ):
        self.batch_size = batch_size
        self.check_folder = check_folder
        self.writers = tuple(writers)
        self.progress = progress
        self.period = period
        self.scores: dict[str, float] = {}
        self._finished = False

    def after_step(self, loop: TrainLoop) -> None:
        if loop.result is None:
            return
        lr = max(group["lr"] for group in loop.step.optimizer.param_groups)
        values = {**loop.result.values, "lr": lr, "time": loop.step_s, "data_time": loop.data_s}
        for name, value in values.items():
            if math.isfinite(value):  # skip non-finite values (float16 overflow); JSON cannot represent them
                self.progress.window.setdefault(name, []).append(value)
        if loop.iteration % self.period == 0 and loop.iteration % loop.iters_per_epoch:
            self.flush(loop)
        for writer in self.writers:
            writer.on_step(loop.iteration, loop.result.values, loop.step_s)

    def after_epoch(self, loop: TrainLoop) -> None:
        self.flush(loop)

    def after_train(self, loop: TrainLoop) -> None:
        self._finished = True

    def at_exit(self, loop: TrainLoop) -> None:
        is_lost = False
        try:
            self.check_folder()
        except StorageError:  # the run has failed because of it
            is_lost = True
        for writer in self.writers:
            if not (is_lost and writer.uses_folder):
                writer.close(finished=self._finished)

    def flush(self, loop: TrainLoop) -> None:
        """Write the medians since the last line, the current learning rates and memory, and new scores."""
        values = {name: statistics.median(numbers) for name, numbers in self.progress.window.items()}
        values |= learning_rate_per_part(loop.step.optimizer) | peak_memory()
        for name in LAST_VALUE_KEYS & self.progress.window.keys():
            values[name] = self.progress.window[name][-1]
        values["eta_seconds"] = values["time"] * (loop.max_iterations - loop.iteration)
        if self.batch_size:
            values["drawings_per_second"] = self.batch_size / values["time"]
        self.check_folder()
        for writer in self.writers:
            writer.on_scores(self.scores)
            writer.write(loop.iteration, {**values, **self.scores})
            if self.scores:
                writer.on_evaluation()
        self.progress.window.clear()
        self.scores = {}

    def add_image(self, loop: TrainLoop, name: str, image: Image.Image) -> None:
        """Send an image to the writers.

        Args:
            loop: the training loop.
            name: name of the image, such as "ranking".
            image: the image.
        """
        self.check_folder()
        for writer in self.writers:
            writer.add_image(loop.iteration, name, image)

    def add_embedding(self, loop: TrainLoop, name: str, data: ProjectorData) -> None:
        """Send features with their thumbnails to the writers.

        Args:
            loop: the training loop.
            name: name of the features, such as that of their dataset.
            data: features, names and thumbnails of drawings.
        """
        self.check_folder()
        for writer in self.writers:
            writer.add_embedding(loop.iteration, name, data)


class LogInputImages(Hook):
    """Send an image of the first batch, as the network receives it, to the writers.

    Args:
        metrics: sends the image.
        render: draws a batch.
    """

    def __init__(self, metrics: WriteMetrics, render: Callable[[Batch], Image.Image]):
        self.metrics = metrics
        self.render = render
        self._done = False

    def after_step(self, loop: TrainLoop) -> None:
        if not self._done and loop.result is not None:
            self.metrics.add_image(loop, "inputs", self.render(loop.result.batch))
            self._done = True


def peak_memory() -> dict[str, float]:
    """Return the peak memory in MiB of this process (`memory_mb`) and of its GPU (`cuda_memory_mb`).

    `memory_mb` is missing on systems without `getrusage`, such as Windows.
    """
    values = {}
    try:
        import resource
    except ImportError:
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB on Linux
        values["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch has no annotation
        values["cuda_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return values


def write_bad_step_record(
    folder: str | Path, iteration: int, processes: Sequence[tuple[Sequence[str], Mapping[str, float]]]
) -> Path:
    """Write `bad_step.json`, the record of a step with a non-finite loss or gradient; only process 0 writes.

    The record contains the drawings from every process with non-finite values, and the values of the first of them.

    Args:
        folder: OUTPUT_DIR of the run.
        iteration: iterations completed before the step.
        processes: drawing names and values of each process.

    Returns:
        The path of the record.
    """
    path = Path(folder) / "bad_step.json"
    nonfinite = [
        process for process in processes if not all(math.isfinite(value) for value in process[1].values())
    ] or processes
    values = {name: repr(value) for name, value in nonfinite[0][1].items()}
    drawings = [name for names, _ in nonfinite for name in names]
    if comm.is_main_process():
        write_text(path, json.dumps({"iteration": iteration, "values": values, "drawings": drawings}, indent=1))
    return path
