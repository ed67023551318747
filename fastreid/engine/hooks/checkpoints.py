"""Save checkpoints at regular intervals."""

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.checkpoint_index import FINAL_AVERAGE_FILE, FINAL_FILE
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils import comm


class SaveCheckpoints(Hook):
    """Save `model_XXXX.pth` (0-based epoch) every `period` epochs and `model_final.pth` at the end.

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
        if not comm.is_main_process():
            return
        if loop.epoch == loop.max_epochs:
            self.checkpointer.save(FINAL_FILE, self.progress)
            self.checkpointer.save_average(FINAL_AVERAGE_FILE, self.progress)
        elif loop.epoch % self.period == 0:
            self.checkpointer.save(f"model_{loop.epoch - 1:04d}.pth", self.progress)
