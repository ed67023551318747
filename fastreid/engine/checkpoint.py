"""Save the checkpoints of a run and resume from them with the same results, to the bit.

A checkpoint contains `model` (the state dict that fast-reid users know), `optimizer`, `scaler`, `skipped` (float16
overflows, in total and in a row), `iteration`, `epoch` (0-based, the last finished one), `metric`, `best`,
`best_epoch`, `best_average`, `window`, `hard_identities`, `num_bad_evaluations`, `stopped_early`, `best_models` (see
`Progress`), `average` (the weight average, if enabled), `generator` (torch's random state) and `config`. All values are
tensors, numbers, strings, lists and dicts, so `torch.load(weights_only=True)` reads them. The sha256 is in a file with
the suffix `.sha256`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastreid.engine.checkpoint_index import CheckpointIndex
from fastreid.engine.resume_settings import RESUME_SAFE_SETTINGS, diff_settings
from fastreid.engine.train_step import TrainStep
from fastreid.modeling.weights import (
    extract_model_state,
    find_nonfinite_tensors,
    format_names,
    load_state,
    read_weights,
)
from fastreid.utils import comm
from fastreid.utils.checksums import write_with_checksum
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error


@dataclass
class Progress:
    """State of a run in addition to its weights.

    Args:
        iteration: iterations completed.
        metric: last score of the weights that selects the best model; -1 before the first evaluation.
        best: highest such score; -1 before the first evaluation.
        best_epoch: 0-based epoch of the highest score; -1 before the first evaluation.
        best_average: highest such score of the weight average; -1 before its first evaluation.
        window: values of the iterations since the last line of metrics, by name.
        hard_identities: tables of hard identities that future batches use, by the iteration of their mining.
        num_bad_evaluations: evaluations since the highest score of the weights or of their average.
        stopped_early: whether these have stopped the run.
        best_models: score of each model that is kept among the best, by file name.
    """

    iteration: int = 0
    metric: float = -1.0
    best: float = -1.0
    best_epoch: int = -1
    best_average: float = -1.0
    window: dict[str, list[float]] = field(default_factory=dict)
    hard_identities: dict[int, torch.Tensor] = field(default_factory=dict)
    num_bad_evaluations: int = 0
    stopped_early: bool = False
    best_models: dict[str, float] = field(default_factory=dict)


class Checkpointer:
    """Save and load the checkpoints of one output folder.

    Args:
        folder: OUTPUT_DIR of the run.
        step: contains the model, the optimizer and the loss scaler.
        iters_per_epoch: iterations per epoch.
        config: text of the run's settings, saved in every checkpoint.
        defaults: text with the defaults of every setting, used for settings newer than the checkpoint.
    """

    def __init__(
        self, folder: str | Path, step: TrainStep, *, iters_per_epoch: int, config: str = "", defaults: str = ""
    ):
        self.folder = Path(folder)
        self.index = CheckpointIndex(folder)
        self.step = step
        self.defaults = defaults
        self.iters_per_epoch = iters_per_epoch
        self.config = config

    def save(self, name: str, progress: Progress, *, is_last: bool = True) -> Path:
        """Save a checkpoint.

        Args:
            name: file name.
            progress: state of the run.
            is_last: whether `--resume` loads this checkpoint next; the one before is then kept.

        Raises:
            StorageError: the file cannot be written; earlier checkpoints are kept.
            NumericalError: the weights contain NaN or Inf; nothing is written and earlier checkpoints are kept.
        """
        path = self.folder / name
        state = {
            "model": self.step.model.state_dict(),
            **self.step.state_dict(),
            "iteration": progress.iteration,
            "epoch": progress.iteration // self.iters_per_epoch - 1,
            "metric": progress.metric,
            "best": progress.best,
            "best_epoch": progress.best_epoch,
            "best_average": progress.best_average,
            "window": progress.window,
            "hard_identities": progress.hard_identities,
            "num_bad_evaluations": progress.num_bad_evaluations,
            "stopped_early": progress.stopped_early,
            "best_models": progress.best_models,
            "generator": torch.get_rng_state(),
            "config": self.config,
        }
        self._write(path, state, is_last=is_last)
        if is_last:
            self.index.add(name)
        return path

    def save_average(self, name: str, progress: Progress) -> None:
        """Save the weight average in the format of `MODEL.WEIGHTS`; do nothing if there is none yet.

        Raises:
            StorageError: the file cannot be written.
            NumericalError: the average contains NaN or Inf.
        """
        average = self.step.average
        if average is not None and average.num_averaged:
            state = {"model": average.model.state_dict(), "iteration": progress.iteration, "config": self.config}
            self._write(self.folder / name, state)

    def resume(self) -> Progress | None:
        """Load model, optimizer, scaler and random state from the newest undamaged checkpoint.

        Returns:
            The state of the run; None if the folder contains no checkpoint.

        Raises:
            InputError: settings other than `RESUME_SAFE_SETTINGS` have changed since the checkpoint.
            WeightsError: the file does not fit this run or is not a training checkpoint; all checkpoints are missing or
                damaged; or the processes of the run read different ones.
        """
        names = self.index.names()
        name, state = self._read_newest(names)
        if len(set(comm.all_gather_object(name))) > 1:
            raise WeightsError(
                f"{self.folder}: the processes of the run see different checkpoints; use a folder that all machines "
                "share"
            )
        if not name:
            return None
        progress = self._restore(self.folder / name, state)
        if comm.is_main_process():
            self.index.write(names[names.index(name) :])
        get_logger().info(f"resuming from {self.folder / name} after iteration {progress.iteration}")
        return progress

    def _read_newest(self, names: list[str]) -> tuple[str, dict[str, Any]]:
        errors = []
        for name in names:
            try:
                return name, read_weights(self.folder / name)
            except (InputError, WeightsError) as error:
                errors.append(str(error))
                if name != names[-1]:
                    get_logger().warning(f"{error}; trying the previous checkpoint")
        if errors:
            raise WeightsError(
                f"{self.folder}: none of its {len(errors)} checkpoints can be loaded; the newest: {errors[0]}. To "
                "start a new run, omit --resume and optionally set MODEL.WEIGHTS"
            )
        return "", {}

    def _write(self, path: Path, state: dict[str, Any], *, is_last: bool = False) -> None:
        nonfinite = find_nonfinite_tensors(state["model"])
        if nonfinite:
            raise NumericalError(
                f"{path}: not saved because {len(nonfinite)} tensors contain NaN or Inf: {format_names(nonfinite)}; "
                "earlier checkpoints are kept. Try a lower SOLVER.BASE_LR"
            )
        try:
            with write_with_checksum(path) as file:
                torch.save(state, file)
                if is_last:
                    self.index.rotate_previous(path.name)
        except RuntimeError as error:  # torch.save hides the cause of a write error
            raise StorageError(
                f"{path}: cannot be written ({summarize_error(error)}); free {_size_mb(state)} MB and add --resume"
            )

    def _restore(self, path: Path, state: dict[str, Any]) -> Progress:
        missing = [name for name in ("optimizer", "scaler", "iteration", "generator") if name not in state]
        if missing:
            raise WeightsError(
                f"{path}: not a training checkpoint, {', '.join(missing)} missing; start a new run with it as "
                "MODEL.WEIGHTS"
            )
        self._check_settings(path, state.get("config", ""))
        load_state(self.step.model, extract_model_state(state), source=str(path))
        try:
            self.step.load_state_dict(state)
        except (ValueError, KeyError, RuntimeError) as error:
            raise WeightsError(
                f"{path}: its optimizer state does not fit this config ({error}); restore the SOLVER settings of the "
                "run"
            )
        torch.set_rng_state(state["generator"])
        return Progress(
            iteration=state["iteration"],
            metric=state["metric"],
            best=state["best"],
            best_epoch=state["best_epoch"],
            best_average=state.get("best_average", -1.0),
            window=state["window"],
            hard_identities=state.get("hard_identities", {}),
            num_bad_evaluations=state.get("num_bad_evaluations", 0),
            stopped_early=state.get("stopped_early", False),
            best_models=state.get("best_models", {}),
        )

    def _check_settings(self, path: Path, before: str) -> None:
        if not before or not self.config:
            return
        try:
            differences = diff_settings(before, self.config, defaults=self.defaults)
        except (InputError, TypeError) as error:
            raise WeightsError(
                f"{path}: its settings cannot be read ({summarize_error(error)}); use another checkpoint"
            )
        changed = [f"{key} {change}" for key, change in differences.items()]
        forbidden = [line for line in changed if not line.startswith(RESUME_SAFE_SETTINGS)]
        if forbidden:
            raise InputError(
                f"--resume from {path}: {'; '.join(forbidden[:5])}; these settings cannot change during a run. "
                "Restore them, or start a new run with another OUTPUT_DIR and MODEL.WEIGHTS"
            )
        for line in changed:
            get_logger().info(line)


def _size_mb(state: Any) -> int:
    """Return the size in MB of the tensors in nested dicts and lists."""
    if isinstance(state, torch.Tensor):
        return state.nbytes // 1_000_000 + 1
    values = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(_size_mb(value) for value in values)
