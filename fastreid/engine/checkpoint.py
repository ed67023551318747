"""Checkpoints of a run: written whole, found again, and enough to go on exactly.

A file holds `model` (the state dict fast-reid users know), `optimizer`, `scaler`, `iteration`, `epoch` (0-based, the
last one finished), `metric`, `best`, `best_epoch`, `window` (values not yet written to the log), `generator` (torch's)
and `config`; tensors, numbers, words and dicts only, so `torch.load(weights_only=True)` reads it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastreid.engine.step import TrainStep
from fastreid.modeling.weights import load_state, model_state, read_weights
from fastreid.utils.errors import WeightsError
from fastreid.utils.files import atomic_write, write_text

LAST = "last_checkpoint"
BEST = "model_best.pth"
FINAL = "model_final.pth"
STOPPED = "model_stopped.pth"


@dataclass
class Progress:
    """What a run has reached, beside its weights.

    Args:
        iteration: steps done.
        metric: the last score by which the best model is chosen; -1 before the first evaluation.
        best: the highest such score; -1 before the first evaluation.
        best_epoch: the 0-based epoch that earned it; -1 before.
        window: values of the steps since the last line of the log, by name.
    """

    iteration: int = 0
    metric: float = -1.0
    best: float = -1.0
    best_epoch: int = -1
    window: dict[str, list[float]] = field(default_factory=dict)


class Checkpointer:
    """Writes and reads the checkpoints of one output folder.

    Args:
        folder: the run's OUTPUT_DIR.
        step: holds model, optimizer and loss scaler.
        iters_per_epoch: to count epochs.
        config: the run's settings as text, kept in the file.
    """

    def __init__(self, folder: str | Path, step: TrainStep, *, iters_per_epoch: int, config: str = ""):
        self.folder = Path(folder)
        self.step = step
        self.iters_per_epoch = iters_per_epoch
        self.config = config

    def save(self, name: str, progress: Progress, *, is_last: bool = True) -> Path:
        """Write a checkpoint; with `is_last` it is also the one `--resume` takes.

        Raises:
            StorageError: it cannot be written; earlier checkpoints stay.
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
            "window": progress.window,
            "generator": torch.get_rng_state(),
            "config": self.config,
        }
        with atomic_write(path) as file:
            torch.save(state, file)
        if is_last:
            write_text(self.folder / LAST, name)
        return path

    def last(self) -> Path | None:
        """The checkpoint `--resume` goes on from; None if the folder has none."""
        pointer = self.folder / LAST
        return self.folder / pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None

    def resume(self, path: Path) -> Progress:
        """Put model, optimizer, scaler and generator back as they were.

        Raises:
            WeightsError: the file does not fit this run or is not a checkpoint of training.
        """
        state = read_weights(path)
        missing = [name for name in ("optimizer", "scaler", "iteration", "generator") if name not in state]
        if missing:
            raise WeightsError(
                f"{path}: no {', '.join(missing)} inside, so a run cannot go on from it; start a new one with MODEL.WEIGHTS"
            )
        load_state(self.step.model, model_state(state))
        self._restore(path, state)
        return Progress(
            iteration=state["iteration"],
            metric=state["metric"],
            best=state["best"],
            best_epoch=state["best_epoch"],
            window=state["window"],
        )

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        try:
            self.step.load_state_dict(state)
        except (ValueError, KeyError, RuntimeError) as error:
            raise WeightsError(
                f"{path}: the optimizer inside does not fit this config ({error}); keep SOLVER as it was"
            )
        torch.set_rng_state(state["generator"])
