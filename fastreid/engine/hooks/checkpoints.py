"""Save checkpoints at regular intervals, before evaluations and after errors."""

import contextlib
from dataclasses import replace
from pathlib import Path

import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import (
    BEFORE_EVALUATION_FILE,
    FINAL_AVERAGE_FILE,
    FINAL_FILE,
    STOPPED_FILE,
    TEMPORARY_FILES,
)
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils import comm
from fastreid.utils.cli import StoppedBySignalError
from fastreid.utils.errors import FastreidError, StorageError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error


class SaveCheckpoints(Hook):
    """Save `model_XXXX.pth` (0-based epoch) every `period` epochs and `model_final.pth` at the end.

    These contain the results of the evaluation and replace the checkpoints that `SaveUnfinishedWork` has written.

    Args:
        checkpointer: writes the files.
        progress: state of the run, saved in each checkpoint.
        period: epochs between two checkpoints.
    """

    def __init__(self, checkpointer: Checkpointer, progress: Progress, *, period: int):
        self.checkpointer = checkpointer
        self.progress = progress
        self.period = period

    def after_epoch(self, loop: TrainLoop) -> None:
        self.progress.iteration = loop.iteration
        is_last = loop.epoch == loop.max_epochs
        if not comm.is_main_process() or (not is_last and loop.epoch % self.period):
            return
        if is_last:
            self.checkpointer.save(FINAL_FILE, self.progress)
            self.checkpointer.save_average(FINAL_AVERAGE_FILE, self.progress)
        else:
            self.checkpointer.save(f"model_{loop.epoch - 1:04d}.pth", self.progress)
        self.checkpointer.index.discard(TEMPORARY_FILES)


class SaveUnfinishedWork(Hook):
    """Save a checkpoint before each evaluation, and after an error; it must be the first hook of the loop.

    `model_before_evaluation.pth` is written after the last iteration of an epoch that is evaluated, before any other
    hook acts on it. A resumed run repeats everything from there, with the same results. After an error, the state of
    the last completed iteration is saved as `model_stopped.pth`, unless it is in a checkpoint already, no iteration
    was completed, the weights are not finite or were being changed, or OUTPUT_DIR cannot be written.

    Args:
        checkpointer: writes the files.
        progress: state of the run, saved in each checkpoint.
        eval_period: epochs between two evaluations; 0: only at the end.
    """

    def __init__(self, checkpointer: Checkpointer, progress: Progress, *, eval_period: int):
        self.checkpointer = checkpointer
        self.progress = progress
        self.eval_period = eval_period
        self._phase = ""  # "", "step", "after_step" or "after_epoch"
        self._first_step = 0
        self._generator = torch.get_rng_state()
        self._epoch_end = Progress()

    def before_train(self, loop: TrainLoop) -> None:
        self._first_step = loop.iteration - loop.step.num_steps

    def before_step(self, loop: TrainLoop) -> None:
        self._phase, self._generator = "step", torch.get_rng_state()

    def after_step(self, loop: TrainLoop) -> None:
        self._phase = "after_step"

    def after_epoch(self, loop: TrainLoop) -> None:
        self._phase, self._generator = "after_epoch", torch.get_rng_state()
        self._epoch_end = _copy_progress(self.progress, iteration=loop.iteration, epoch_end_pending=True)
        is_resumed = self.checkpointer.last_saved[1:] == (loop.iteration, True)
        if comm.is_main_process() and is_evaluation_due(loop, self.eval_period) and not is_resumed:
            self.checkpointer.save(BEFORE_EVALUATION_FILE, self._epoch_end)

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        is_stopped = isinstance(error, StoppedBySignalError)
        if not self._phase or loop.iteration == 0 or is_stopped or not comm.is_main_process():
            return
        with contextlib.suppress(StorageError):
            self.checkpointer.check_folder()
            self._save_after_error(loop, error)

    def _save_after_error(self, loop: TrainLoop, error: BaseException) -> None:
        path, saved_iteration, _ = self.checkpointer.last_saved
        if saved_iteration == loop.iteration:
            _report_checkpoint(error, f"{path} contains iteration {loop.iteration}; continue with --resume")
            return
        if loop.step.is_updating or loop.iteration - loop.step.num_steps != self._first_step:
            reason = f"iteration {loop.iteration + 1} was changing the weights"
            get_logger().warning(f"no checkpoint is saved because {reason}; earlier checkpoints are kept")
            return
        try:
            path = self._save_state(loop)
        except Exception as save_error:
            get_logger().warning(f"no checkpoint is saved after the error: {summarize_error(save_error)}")
        else:
            _report_checkpoint(error, f"saved {path} after iteration {loop.iteration}; continue with --resume")

    def _save_state(self, loop: TrainLoop) -> Path:
        """Save the state after the last completed iteration; a resumed run repeats what the error interrupted."""
        is_epoch_end = self._phase != "step" and loop.iteration % loop.iters_per_epoch == 0
        progress = self._epoch_end
        if self._phase != "after_epoch":
            progress = _copy_progress(self.progress, iteration=loop.iteration, epoch_end_pending=is_epoch_end)
        if self._phase != "after_step":
            torch.set_rng_state(self._generator)  # as before the step or hook that failed
        return self.checkpointer.save(STOPPED_FILE, progress)


def is_evaluation_due(loop: TrainLoop, period: int) -> bool:
    """Return whether the epoch that has just been completed is evaluated.

    Args:
        loop: the training loop.
        period: epochs between two evaluations; 0: only at the end.
    """
    return loop.epoch == loop.max_epochs or (period > 0 and loop.epoch % period == 0)


def _copy_progress(progress: Progress, *, iteration: int, epoch_end_pending: bool) -> Progress:
    """Return a copy that later changes of the progress do not affect."""
    return replace(
        progress,
        iteration=iteration,
        epoch_end_pending=epoch_end_pending,
        window={name: list(values) for name, values in progress.window.items()},
        hard_identities=dict(progress.hard_identities),
        best_models=dict(progress.best_models),
    )


def _report_checkpoint(error: BaseException, text: str) -> None:
    """Append the text to a one-line message that users see; otherwise log it."""
    message = str(error)
    if isinstance(error, FastreidError) and "\n" not in message:
        error.args = (f"{message}; {text}",)
    else:
        get_logger().warning(text)
