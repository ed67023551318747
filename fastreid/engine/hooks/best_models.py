"""What the scores of a run decide beside the best model: which others are kept, and whether the run goes on."""

import re
from collections.abc import Sequence, Set
from pathlib import Path

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils import comm
from fastreid.utils.checksums import manifest_of, move_checked
from fastreid.utils.logger import RESULT, get_logger

KEPT = re.compile(r"model_best_\d{4,}_\d+\.\d\d\.pth")
PREVIOUS = ".previous.pth"


class BestModels(Hook):
    """Keeps the `num` models that scored best, as `model_best_EPOCH_SCORE.pth`, epochs counted from 0.

    Of equal scores the earlier counts as better. A file that is among them no more goes only when no checkpoint that a
    stopped run may go on from names it: with the second one after it, or at the end.

    Args:
        checkpointer: writes the files.
        progress: holds their names and scores.
        num: how many.
        period: epochs from checkpoint to checkpoint.
    """

    def __init__(self, checkpointer: Checkpointer, progress: Progress, *, num: int, period: int):
        self.checkpointer = checkpointer
        self.progress = progress
        self.num = num
        self.period = period
        self._named: set[str] = set()  # by the last checkpoint

    def before_train(self, loop: TrainLoop) -> None:
        gone = [name for name in self.progress.kept if not (self.checkpointer.folder / name).is_file()]
        for name in comm.gather(gone)[0]:
            get_logger().warning(f"{name}, one of the best models, is not there any more; it counts no longer")
            self.progress.kept.pop(name)
        self._named = set(self.progress.kept)
        self._tidy()

    def after_epoch(self, loop: TrainLoop) -> None:
        is_last = loop.epoch == loop.max_epochs
        if is_last or loop.epoch % self.period == 0:
            before, self._named = self._named, set(self.progress.kept)
            self._tidy(set() if is_last else before)

    def take(self, metric: float, loop: TrainLoop) -> None:
        """Keep the model after an evaluation if `metric`, its score, is among the best."""
        start = f"model_best_{loop.epoch - 1:04d}_"
        name = f"{start}{metric:.2f}.pth"
        others = {file: points for file, points in self.progress.kept.items() if not file.startswith(start)}
        ranked = sorted({**others, name: metric}.items(), key=lambda pair: (-pair[1], pair[0]))
        self.progress.kept = dict(ranked[: self.num])
        self.progress.iteration = loop.iteration
        if name in self.progress.kept and comm.is_main():
            self.checkpointer.save(name, self.progress, is_last=False)

    def _tidy(self, besides: Set[str] = frozenset()) -> None:
        if comm.is_main():
            for path in kept_files(self.checkpointer.folder):
                if path.name not in self.progress.kept.keys() | besides:
                    _remove(path)


class EarlyStop(Hook):
    """Ends a run after `patience` evaluations in a row none of which was better, neither of weights nor of their mean.

    Args:
        progress: counts them.
        patience: how many.
        period: epochs from evaluation to evaluation.
        again: hooks that would have done otherwise at the end of the epoch, had they known that it is the last.
    """

    def __init__(self, progress: Progress, *, patience: int, period: int, again: Sequence[Hook] = ()):
        self.progress = progress
        self.patience = patience
        self.period = period
        self.again = tuple(again)

    def after_epoch(self, loop: TrainLoop) -> None:
        num_worse = self.progress.num_worse
        if loop.epoch % self.period or loop.epoch == loop.max_epochs or num_worse < self.patience:
            return
        get_logger().log(
            RESULT, f"{num_worse} evaluations without a better score: the run ends after epoch {loop.epoch}"
        )
        loop.end_here()
        self.progress.ended = True
        for hook in self.again:
            hook.after_epoch(loop)
        self.progress.num_worse = num_worse  # what was measured again does not let the run go on


def kept_files(folder: str | Path) -> list[Path]:
    """The files that `BestModels` of this run has written."""
    return sorted(path for path in Path(folder).glob("model_best_*") if KEPT.fullmatch(path.name))


def set_aside(folder: str | Path) -> None:
    """Rename the kept models of an earlier run in a folder; those of the run before that go."""
    files = kept_files(folder)
    if files:
        for path in Path(folder).glob(f"model_best_[0-9]*{PREVIOUS}"):
            _remove(path)
    for path in files:
        move_checked(path, path.with_name(path.name.removesuffix(".pth") + PREVIOUS))


def _remove(path: Path) -> None:
    path.unlink()
    manifest_of(path).unlink(missing_ok=True)
