"""Save the checkpoints of a run and resume from them with the same results, to the bit.

A checkpoint contains `model` (the state dict that fast-reid users know), `optimizer`, `scaler`, `skipped` (float16
overflows, in total and in a row), `iteration`, `epoch` (0-based, the last finished one), `metric`, `best`,
`best_epoch`, `best_average`, `window`, `hard_identities`, `num_bad_evaluations`, `stopped_early`, `best_models`,
`epoch_end_pending` (see `Progress`), `average` (the weight average, if enabled), `memory` (features of earlier
iterations, if enabled), `starting_point` (start weights of the backbone, if SOLVER.L2_SP is used), `teacher` (its
fingerprint, see `teacher`), `generator` (torch's random state), `config` and `data` (see `data_fingerprint`). All
values are tensors, numbers, strings, lists and dicts, so `torch.load(weights_only=True)` reads them. The sha256 is in a
file with the suffix `.sha256`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from fastreid.engine.checkpoint.index import BEST_AVERAGE_FILE, BEST_FILE, CheckpointIndex, archive_best_models
from fastreid.engine.resume.check import (
    check_data,
    check_settings,
    check_step_state,
    check_values,
    find_whitening_change,
)
from fastreid.engine.resume.data_fingerprint import DataFingerprint, get_classes
from fastreid.engine.step.train_step import TrainStep
from fastreid.modeling.weights import (
    extract_model_state,
    find_nonfinite_tensors,
    format_names,
    load_state,
    read_weights,
)
from fastreid.utils import comm
from fastreid.utils.checksums import find_checksum_problem, write_with_checksum
from fastreid.utils.errors import InputError, NumericalError, WeightsError
from fastreid.utils.files import write_error
from fastreid.utils.logger import get_logger


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
        epoch_end_pending: whether the evaluation and other work at the end of the last epoch is still to be done.
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
    epoch_end_pending: bool = False

    def has_scores(self) -> bool:
        """Return whether the run has been evaluated."""
        return bool(max(self.metric, self.best, self.best_average) > -1 or self.best_models)

    def reset_scores(self) -> None:
        """Remove all scores and start early stopping again, because new scores are not comparable with them."""
        self.metric = self.best = self.best_average = -1.0
        self.best_epoch, self.num_bad_evaluations, self.stopped_early = -1, 0, False
        self.best_models = {}


class Checkpointer:
    """Save and load the checkpoints of one output folder.

    Args:
        folder: OUTPUT_DIR of the run; created by the first checkpoint if it is missing.
        step: contains the model, the optimizer and the loss scaler.
        iters_per_epoch: iterations per epoch.
        config: text of the run's settings, saved in every checkpoint.
        defaults: text with the defaults of every setting, used for settings newer than the checkpoint.
        data: fingerprint of the image lists, saved in every checkpoint and compared on resume; None: neither.
        check_folder: called before every write; raises StorageError if the folder is not the one of this run any more.

    Attributes:
        last_saved: path, iteration and `epoch_end_pending` of the checkpoint that `--resume` loads next.
    """

    def __init__(
        self,
        folder: str | Path,
        step: TrainStep,
        *,
        iters_per_epoch: int,
        config: str = "",
        defaults: str = "",
        data: DataFingerprint | None = None,
        check_folder: Callable[[], None] = lambda: None,
    ):
        self.folder = Path(folder)
        self._has_folder = False
        self.check_folder = check_folder
        self.index = CheckpointIndex(folder)
        self.step = step
        self.defaults = defaults
        self.iters_per_epoch = iters_per_epoch
        self.config = config
        self.data = data
        self._data_state = None if data is None else data.state
        self._best_models_outdated = False
        self.last_saved: tuple[Path | None, int, bool] = None, 0, False

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
            "epoch_end_pending": progress.epoch_end_pending,
            "generator": torch.get_rng_state(),
            "config": self.config,
            **({} if self._data_state is None else {"data": self._data_state}),
        }
        self._write(path, state, is_last=is_last)
        if is_last:
            self.check_folder()
            self.index.add(name)
            self.last_saved = path, progress.iteration, progress.epoch_end_pending
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
            state["data"] = get_classes(self._data_state)
            self._write(self.folder / name, state)

    def resume(self) -> Progress | None:
        """Load model, optimizer, scaler and random state from the newest undamaged checkpoint.

        Returns:
            The state of the run; None if the folder contains no checkpoint.

        Raises:
            InputError: settings other than `RESUME_SAFE_SETTINGS`, an image list or its files have changed since the
                checkpoint.
            WeightsError: the file does not fit this run or is not a training checkpoint; one of its values is invalid;
                all checkpoints are missing or damaged; or the processes of the run read different ones.
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
        self.last_saved = self.folder / name, progress.iteration, progress.epoch_end_pending
        if comm.is_main_process():
            self.index.write(names[names.index(name) :])
        get_logger().info(f"resuming from {self.folder / name} after iteration {progress.iteration}")
        return progress

    def prepare_best_models(self, progress: Progress) -> None:
        """Archive best models whose scores are no longer comparable, before a resumed run continues.

        If a best model is missing instead, its score no longer counts. Every process must call this method.
        """
        if self._best_models_outdated:
            self._best_models_outdated = False
            if comm.is_main_process():
                archive_best_models(self.folder)
        scored = {BEST_FILE: progress.best_epoch >= 0, BEST_AVERAGE_FILE: progress.best_average >= 0}
        missing = [name for name, has_score in scored.items() if has_score and not (self.folder / name).is_file()]
        for name in comm.all_gather_object(missing)[0]:
            get_logger().warning(f"{self.folder / name} is missing, so its score no longer counts")
            if name == BEST_FILE:
                progress.best, progress.best_epoch = -1.0, -1
            else:
                progress.best_average = -1.0

    def _read_newest(self, names: list[str]) -> tuple[str, dict[str, Any]]:
        errors = []
        for name in names:
            try:
                state = read_weights(self.folder / name)
                problem = find_checksum_problem(self.folder / name)
                if problem:
                    get_logger().warning(f"{problem}; damage of {name} may not be detected")
                return name, state
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

    def _make_folder(self) -> None:
        """Create the folder once, so that one that is deleted during the run does not appear again."""
        if self._has_folder:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error)
        self._has_folder = True

    def _write(self, path: Path, state: dict[str, Any], *, is_last: bool = False) -> None:
        self.check_folder()
        nonfinite = find_nonfinite_tensors(state["model"])
        if nonfinite:
            raise NumericalError(
                f"{path}: not saved because {len(nonfinite)} tensors contain NaN or Inf: {format_names(nonfinite)}; "
                "earlier checkpoints are kept. Try a lower SOLVER.BASE_LR"
            )
        self._make_folder()
        with write_with_checksum(path, make_folder=False) as file:
            torch.save(state, file)
            self.check_folder()  # again, because writing takes long
            if is_last:
                self.index.rotate_previous(path.name)

    def _restore(self, path: Path, state: dict[str, Any]) -> Progress:
        check_values(path, state)
        score_changes = check_settings(path, state.get("config", ""), self.config, defaults=self.defaults)
        score_changes += find_whitening_change(state.get("data"), self.data)
        self._data_state = check_data(path, state.get("data"), self.data)
        check_step_state(path, state, self.step, iters_per_epoch=self.iters_per_epoch)
        load_state(self.step.model, extract_model_state(state), source=str(path))
        try:
            self.step.load_state_dict(state)
        except (ValueError, KeyError, RuntimeError) as error:
            raise WeightsError(
                f"{path}: its optimizer state does not fit this config ({error}); restore the SOLVER settings of the "
                "run"
            )
        torch.set_rng_state(state["generator"])
        progress = Progress(**{item.name: state[item.name] for item in fields(Progress) if item.name in state})
        if score_changes and progress.has_scores():
            get_logger().warning(
                f"{'; '.join(score_changes)}: earlier scores are not comparable, so best score, best models and early "
                "stopping start again; files of earlier best models are renamed to *.previous.pth"
            )
            progress.reset_scores()
            self._best_models_outdated = True
        return progress
