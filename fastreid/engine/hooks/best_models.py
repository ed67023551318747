"""Keep the models with the best scores."""

from collections.abc import Set

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import find_best_models, remove_checkpoint
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils import comm
from fastreid.utils.logger import get_logger


class SaveBestModels(Hook):
    """Keep the `num_models` models with the best scores as `model_best_EPOCH_SCORE.pth`, with 0-based epochs.

    Of equal scores, the earlier one ranks first. A file that is no longer among the best is removed only when no
    checkpoint that `--resume` may load names it: with the second checkpoint after it, or at the end of the run.

    Args:
        checkpointer: writes the files.
        progress: stores their names and scores.
        num_models: how many to keep.
        period: epochs between two checkpoints.
    """

    def __init__(self, checkpointer: Checkpointer, progress: Progress, *, num_models: int, period: int):
        self.checkpointer = checkpointer
        self.progress = progress
        self.num_models = num_models
        self.period = period
        self._names_in_checkpoint: set[str] = set()  # in the last one

    def before_train(self, loop: TrainLoop) -> None:
        missing = [name for name in self.progress.best_models if not (self.checkpointer.folder / name).is_file()]
        for name in comm.all_gather_object(missing)[0]:
            get_logger().warning(f"{name}, one of the best models, is missing and no longer counts")
            self.progress.best_models.pop(name)
        self._names_in_checkpoint = set(self.progress.best_models)
        self._remove_others()

    def after_epoch(self, loop: TrainLoop) -> None:
        is_last = loop.epoch == loop.max_epochs
        if is_last or loop.epoch % self.period == 0:
            before, self._names_in_checkpoint = self._names_in_checkpoint, set(self.progress.best_models)
            self._remove_others(set() if is_last else before)

    def update(self, score: float, loop: TrainLoop) -> None:
        """Save the model after an evaluation if its score is among the best."""
        prefix = f"model_best_{loop.epoch - 1:04d}_"
        name = f"{prefix}{score:.2f}.pth"
        others = {file: value for file, value in self.progress.best_models.items() if not file.startswith(prefix)}
        ranked = sorted({**others, name: score}.items(), key=lambda pair: (-pair[1], pair[0]))
        self.progress.best_models = dict(ranked[: self.num_models])
        self.progress.iteration = loop.iteration
        if name in self.progress.best_models and comm.is_main_process():
            self.checkpointer.save(name, self.progress, is_last=False)

    def _remove_others(self, except_for: Set[str] = frozenset()) -> None:
        if comm.is_main_process():
            for path in find_best_models(self.checkpointer.folder):
                if path.name not in self.progress.best_models.keys() | except_for:
                    remove_checkpoint(path)
