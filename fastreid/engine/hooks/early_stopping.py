"""Stop a run whose scores no longer improve."""

from collections.abc import Sequence

from fastreid.engine.checkpoint.checkpointer import Progress
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils.logger import RESULT, get_logger


class EarlyStopping(Hook):
    """Stop a run after `patience` evaluations in a row without a better score of the weights or of their average.

    Args:
        progress: counts these evaluations.
        patience: number of evaluations.
        period: epochs between two evaluations.
        rerun_hooks: hooks that act differently at the end of the last epoch; their `after_epoch` is called again.
    """

    def __init__(self, progress: Progress, *, patience: int, period: int, rerun_hooks: Sequence[Hook] = ()):
        self.progress = progress
        self.patience = patience
        self.period = period
        self.rerun_hooks = tuple(rerun_hooks)

    def after_epoch(self, loop: TrainLoop) -> None:
        num_bad_evaluations = self.progress.num_bad_evaluations
        if loop.epoch % self.period or loop.epoch == loop.max_epochs or num_bad_evaluations < self.patience:
            return
        get_logger().log(
            RESULT,
            f"early stopping after epoch {loop.epoch}: {num_bad_evaluations} evaluations without a better score",
        )
        loop.request_stop()
        self.progress.stopped_early = True
        for hook in self.rerun_hooks:
            hook.after_epoch(loop)
        self.progress.num_bad_evaluations = num_bad_evaluations  # a better score of the rerun does not resume the run
