"""Checkpoints of a run: written whole, found again, and enough to go on exactly.

A file holds `model` (the state dict fast-reid users know), `optimizer`, `scaler`, `skipped` (float16 overflows, and those in a row), `iteration`, `epoch` (0-based, the
last one finished), `metric`, `best`, `best_epoch`, `best_average`, `window` (values not yet written to the log),
`hard_identities` (tables of patents), `num_bad_evaluations`, `ended`, `kept` (see `Progress`), `average` (the mean of weights, where one is kept), `generator` (torch's) and
`config`; tensors, numbers, words and dicts only, so `torch.load(weights_only=True)` reads it. Its sha256 lies beside it.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastreid.config.reader import settings_of
from fastreid.engine.checkpoint_index import CheckpointIndex
from fastreid.engine.train_step import TrainStep
from fastreid.modeling.weights import (
    extract_model_state,
    find_nonfinite_tensors,
    format_names,
    load_state,
    read_weights,
)
from fastreid.utils import comm
from fastreid.utils.checksums import write_with_checksum, move_with_checksum
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

BEST_FILE = "model_best.pth"
PREVIOUS_BEST_FILE = "model_best.previous.pth"
FINAL_FILE = "model_final.pth"
BEST_AVERAGE_FILE = "model_best_average.pth"
PREVIOUS_BEST_AVERAGE_FILE = "model_best_average.previous.pth"
FINAL_AVERAGE_FILE = "model_final_average.pth"
STOPPED_FILE = "model_stopped.pth"

RESUME_SAFE_SETTINGS = (  # settings, or beginnings of their names, that a run may go on with changed
    "OUTPUT_DIR",
    "CUDNN_BENCHMARK",
    "DETERMINISTIC",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TIMEOUT_S",
    "DATASETS.CACHE.",
    "DATASETS.ROOT",
    "DATASETS.TESTS",
    "INPUT.MAX_BAD_IMAGES",
    "INPUT.ON_BAD_IMAGE",  # a run that a bad image stopped has met none before
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "MODEL.CHANNELS_LAST",
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.FUSED",
    "SOLVER.SAVE_TOP_K",
    "SOLVER.LOG_PERIOD",
    "SOLVER.MAX_EPOCH",
    "SOLVER.EARLY_STOP_PATIENCE",
    "SOLVER.DIAGNOSTICS_PERIOD",
    "TEST.",
    "TRACKER.",
)
RESULT_AFFECTING_SETTINGS = (  # those of them from which the last weights, or what a test says of them, follow
    "DATASETS.TESTS",
    "INPUT.ON_BAD_IMAGE",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.WEIGHTS",
    "SOLVER.MAX_EPOCH",
    "SOLVER.EARLY_STOP_PATIENCE",
    "TEST.",
)


@dataclass
class Progress:
    """What a run has reached, beside its weights.

    Args:
        iteration: steps done.
        metric: the last score by which the best model is chosen; -1 before the first evaluation.
        best: the highest such score; -1 before the first evaluation.
        best_epoch: the 0-based epoch that earned it; -1 before.
        best_average: the highest such score of the mean of weights; -1 before there was any.
        window: values of the steps since the last line of the log, by name.
        look_alikes: tables of the patents' look-alikes that batches to come are made with, by the number of steps that
            were done when they were made.
        num_worse: evaluations since the one with the highest score, of the weights or of their mean.
        ended: whether these have ended the run.
        kept: score of each model that is kept among the best, by file name.
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
    """Writes and reads the checkpoints of one output folder.

    Args:
        folder: the run's OUTPUT_DIR.
        step: holds model, optimizer and loss scaler.
        iters_per_epoch: to count epochs.
        config: the run's settings as text, kept in the file.
        defaults: of all settings, as text; a checkpoint that is older than a setting had its default.
    """

    def __init__(
        self, folder: str | Path, step: TrainStep, *, iters_per_epoch: int, config: str = "", defaults: str = ""
    ):
        self.folder = Path(folder)
        self.order = CheckpointIndex(folder)
        self.step = step
        self.defaults = defaults
        self.iters_per_epoch = iters_per_epoch
        self.config = config

    def save(self, name: str, progress: Progress, *, is_last: bool = True) -> Path:
        """Write a checkpoint; with `is_last` it is also the one `--resume` takes, and the one before it stays.

        Raises:
            StorageError: it cannot be written; earlier checkpoints stay.
            NumericalError: the weights hold NaN or Inf, which never reach a file; earlier checkpoints stay.
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
            "look_alikes": progress.hard_identities,
            "num_worse": progress.num_bad_evaluations,
            "ended": progress.stopped_early,
            "kept": progress.best_models,
            "generator": torch.get_rng_state(),
            "config": self.config,
        }
        self._write(path, state, is_last=is_last)
        if is_last:
            self.order.add(name)
        return path

    def save_average(self, name: str, progress: Progress) -> None:
        """Write the mean of the weights, as `MODEL.WEIGHTS` takes it; nothing where there is none yet.

        Raises:
            StorageError: it cannot be written.
            NumericalError: it holds NaN or Inf.
        """
        average = self.step.average
        if average is not None and average.num_averaged:
            state = {"model": average.model.state_dict(), "iteration": progress.iteration, "config": self.config}
            self._write(self.folder / name, state)

    def set_aside(self) -> None:
        """Make room for a new run in a used folder: what `--resume` would take is forgotten, the best is renamed."""
        self.order.clear()
        for name, previous in ((BEST_FILE, PREVIOUS_BEST_FILE), (BEST_AVERAGE_FILE, PREVIOUS_BEST_AVERAGE_FILE)):
            if (self.folder / name).is_file():
                move_with_checksum(self.folder / name, self.folder / previous)

    def resume(self) -> Progress | None:
        """Put model, optimizer, scaler and generator back as the newest checkpoint that is whole has them.

        Returns:
            What the run has reached; None where the folder has no checkpoint.

        Raises:
            InputError: the run began with other settings, beyond those of `RESUME_SAFE_SETTINGS`.
            WeightsError: the file does not fit this run or is not a checkpoint of training; or there are checkpoints
                and each is lost or damaged; or the processes of the run do not read the same.
        """
        names = self.order.names()
        name, state = self._newest_whole(names)
        if len(set(comm.all_gather_object(name))) > 1:
            raise WeightsError(f"{self.folder}: its checkpoints are not the same for all processes; share the folder")
        if not name:
            return None
        progress = self._resume_from(self.folder / name, state)
        if comm.is_main_process():
            self.order.put(names[names.index(name) :])
        get_logger().info(f"going on from {self.folder / name} after step {progress.iteration}")
        return progress

    def _newest_whole(self, names: list[str]) -> tuple[str, dict[str, Any]]:
        faults = []
        for name in names:
            try:
                return name, read_weights(self.folder / name)
            except (InputError, WeightsError) as error:
                faults.append(str(error))
                if name != names[-1]:
                    get_logger().warning(f"{error}; trying the checkpoint before it")
        if faults:
            raise WeightsError(
                f"{self.folder}: none of its {len(faults)} checkpoints can be gone on from; the newest: {faults[0]}. To "
                "start anew leave --resume out, with MODEL.WEIGHTS to start from weights"
            )
        return "", {}

    def _write(self, path: Path, state: dict[str, Any], *, is_last: bool = False) -> None:
        bad = find_nonfinite_tensors(state["model"])
        if bad:
            raise NumericalError(
                f"{path}: not written, as {len(bad)} tensors hold NaN or Inf: {format_names(bad)}; earlier checkpoints stay. "
                "Try a lower SOLVER.BASE_LR"
            )
        try:
            with write_with_checksum(path) as file:
                torch.save(state, file)
                if is_last:
                    self.order.rotate_previous(path.name)
        except RuntimeError as error:  # torch's writer does not pass on why the disk refused
            raise StorageError(f"{path}: cannot be written ({summarize_error(error)}); free {_size_mb(state)} MB and --resume")

    def _resume_from(self, path: Path, state: dict[str, Any]) -> Progress:
        missing = [name for name in ("optimizer", "scaler", "iteration", "generator") if name not in state]
        if missing:
            raise WeightsError(
                f"{path}: no {', '.join(missing)} inside, so a run cannot go on from it; start a new one with MODEL.WEIGHTS"
            )
        self._check_settings(path, state.get("config", ""))
        load_state(self.step.model, extract_model_state(state), source=str(path))
        self._restore(path, state)
        return Progress(
            iteration=state["iteration"],
            metric=state["metric"],
            best=state["best"],
            best_epoch=state["best_epoch"],
            best_average=state.get("best_average", -1.0),
            window=state["window"],
            hard_identities=state.get("look_alikes", {}),
            num_bad_evaluations=state.get("num_worse", 0),
            stopped_early=state.get("ended", False),
            best_models=state.get("kept", {}),
        )

    def _check_settings(self, path: Path, before: str) -> None:
        if not before or not self.config:
            return
        try:
            apart = diff_settings(before, self.config, defaults=self.defaults)
        except (InputError, TypeError) as error:
            raise WeightsError(
                f"{path}: the settings inside cannot be read ({summarize_error(error)}); take another checkpoint"
            )
        changed = [f"{key} {told}" for key, told in apart.items()]
        refused = [line for line in changed if not line.startswith(RESUME_SAFE_SETTINGS)]
        if refused:
            raise InputError(
                f"--resume from {path}: {'; '.join(refused[:5])}; a run goes on with the settings it began with. "
                "Put them back, or start another OUTPUT_DIR with MODEL.WEIGHTS"
            )
        for line in changed:
            get_logger().info(line)

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        try:
            self.step.load_state_dict(state)
        except (ValueError, KeyError, RuntimeError) as error:
            raise WeightsError(
                f"{path}: the optimizer inside does not fit this config ({error}); keep SOLVER as it was"
            )
        torch.set_rng_state(state["generator"])


def diff_settings(before: str, now: str, *, defaults: str = "") -> dict[str, str]:
    """The settings in which two texts of a `config.yaml` are apart: full name -> "was 1 and is 2", sorted by name.

    Args:
        before: one text; a setting that it does not know yet had its default.
        now: the other.
        defaults: of all settings, as text.
    """
    old, new = _settings(defaults) | _settings(before), _settings(now)
    return {
        key: f"was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


@functools.lru_cache(maxsize=4)  # the defaults and the ground come with every run of an ablation
def _settings(text: str) -> dict[str, Any]:
    return settings_of(text, "config.yaml")


def _size_mb(state: Any) -> int:
    """MB of all tensors in nested dicts and lists."""
    if isinstance(state, torch.Tensor):
        return state.nbytes // 1_000_000 + 1
    values = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(_size_mb(value) for value in values)
