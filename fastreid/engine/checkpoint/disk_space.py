"""Compute before the first iteration how much disk space the checkpoints of a run need."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastreid.engine.checkpoint.index import (
    BEFORE_EVALUATION_FILE,
    BEST_AVERAGE_FILE,
    BEST_FILE,
    FINAL_AVERAGE_FILE,
    FINAL_FILE,
    PREVIOUS_BEST_AVERAGE_FILE,
    PREVIOUS_BEST_FILE,
    PREVIOUS_SUFFIX,
    TEMPORARY_FILES,
)
from fastreid.engine.resume.optimizer_state import TENSOR_BYTES

_BEST_MODEL = " best model"  # ends the names of additional best models, which contain scores in reality


@dataclass(frozen=True)
class CheckpointPlan:
    """Which checkpoints a run saves, and their sizes; epochs are numbers of completed epochs.

    Args:
        checkpoint_bytes: size of a checkpoint.
        average_bytes: size of a file with the weight average.
        average_start: epochs before averaging starts; None: the run has no average.
        eval_period: epochs between two evaluations; 0: only at the end.
        checkpoint_period: epochs between two checkpoints that are kept.
        num_best_models: best models that are kept in addition to the best one.
        num_epochs: of the run.
    """

    checkpoint_bytes: int
    average_bytes: int
    average_start: int | None
    eval_period: int
    checkpoint_period: int
    num_best_models: int
    num_epochs: int

    def is_evaluated(self, epoch: int) -> bool:
        """Return whether there is an evaluation after an epoch."""
        return epoch == self.num_epochs or (self.eval_period > 0 and epoch % self.eval_period == 0)

    def is_kept(self, epoch: int) -> bool:
        """Return whether there is a checkpoint after an epoch that is kept."""
        return epoch == self.num_epochs or epoch % self.checkpoint_period == 0


def count_bytes(values: Any) -> int:
    """Return the size in a file of all tensors and strings in nested dicts and lists."""
    if isinstance(values, Tensor):
        return values.numel() * values.element_size() + TENSOR_BYTES
    if isinstance(values, str):
        return len(values)
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, (list, tuple)):
        return 0
    return sum(map(count_bytes, values))


def measure_checkpoints(folder: Path) -> dict[str, int]:
    """Return the size of each checkpoint in a folder."""
    return {path.name: path.stat().st_size for path in folder.glob("*.pth") if path.is_file()}


def compute_needed_bytes(
    plan: CheckpointPlan, files: Mapping[str, int], *, first_epoch: int, is_new: bool, is_scored: bool
) -> tuple[int, int]:
    """Return the free bytes that the first checkpoints need at least, and that those of the whole run need at most.

    A file is written next to the one that it replaces, so one temporary file is included.

    Args:
        plan: of the run.
        files: sizes of the checkpoints in the folder.
        first_epoch: the next epoch to be completed.
        is_new: the best models of the folder are those of an earlier run and will be archived.
        is_scored: the run has a best model, so that the next evaluation may save none.
    """
    epochs = range(first_epoch, plan.num_epochs + 1)
    first = next((epoch for epoch in epochs if plan.is_evaluated(epoch) or plan.is_kept(epoch)), plan.num_epochs)
    needed = []
    for last, saves_best in ((first, not is_scored), (plan.num_epochs, True)):
        disk = _Disk(files)
        if is_new:
            disk.archive_previous_run()
        for epoch in epochs[: last + 1 - first_epoch]:
            _save_epoch(plan, disk, epoch, saves_best=saves_best)
        needed.append(disk.needed)
    return needed[0], needed[1]


def _save_epoch(plan: CheckpointPlan, disk: "_Disk", epoch: int, *, saves_best: bool) -> None:
    """Write what the hooks of a run write after an epoch, in their order."""
    has_average = plan.average_start is not None and epoch > plan.average_start
    if plan.is_evaluated(epoch):
        disk.write(BEFORE_EVALUATION_FILE, plan.checkpoint_bytes, keeps_previous=True)
        if saves_best and has_average:
            disk.write(BEST_AVERAGE_FILE, plan.average_bytes)
        if saves_best:
            disk.write(BEST_FILE, plan.checkpoint_bytes)
        if saves_best and plan.num_best_models:
            disk.write(f"{epoch}{_BEST_MODEL}", plan.checkpoint_bytes)
    if plan.is_kept(epoch):
        disk.write(FINAL_FILE if epoch == plan.num_epochs else f"model_{epoch - 1:04d}.pth", plan.checkpoint_bytes)
        if epoch == plan.num_epochs and has_average:
            disk.write(FINAL_AVERAGE_FILE, plan.average_bytes)
        disk.remove(TEMPORARY_FILES)
        # Those that the last checkpoint names, and those of this one.
        disk.remove([name for name in disk.files if name.endswith(_BEST_MODEL)][: -2 * plan.num_best_models or None])


class _Disk:
    """Files that are written one after the other, and the largest number of bytes that they need in addition.

    Args:
        files: sizes of the files at the beginning.
    """

    def __init__(self, files: Mapping[str, int]):
        self.files = dict(files)
        self.added = self.needed = 0

    def archive_previous_run(self) -> None:
        """Remove and rename the same checkpoints as `checkpoint_index.archive_previous_run`."""
        self.remove(TEMPORARY_FILES)
        for name, previous in ((BEST_FILE, PREVIOUS_BEST_FILE), (BEST_AVERAGE_FILE, PREVIOUS_BEST_AVERAGE_FILE)):
            self._rename(name, previous)

    def write(self, name: str, num_bytes: int, *, keeps_previous: bool = False) -> None:
        """Write a temporary file that replaces another one at the end."""
        self.added += num_bytes
        self.needed = max(self.needed, self.added)
        if keeps_previous:
            self._rename(name, f"{Path(name).stem}{PREVIOUS_SUFFIX}")
        self.remove([name])
        self.files[name] = num_bytes

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that do not exist are ignored."""
        for name in names:
            self.added -= self.files.pop(name, 0)

    def _rename(self, name: str, other: str) -> None:
        if name in self.files:
            self.remove([other])
            self.files[other] = self.files.pop(name)
