"""Save a checkpoint and stop on SIGTERM or SIGINT."""

import signal
import time
from types import FrameType

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import STOPPED_FILE
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils import comm
from fastreid.utils.cli import StoppedBySignalError
from fastreid.utils.termination import SAME_SIGNAL_S


class StopOnSignal(Hook):
    """On SIGTERM or SIGINT, finish the iteration, save a checkpoint and stop; a second signal exits immediately.

    At the end of an epoch whose checkpoint has just been saved, that one is not written a second time.

    Args:
        checkpointer: writes the checkpoint.
        progress: state of the run, saved in the checkpoint.
    """

    SYNC_PERIOD = 10  # iterations between two exchanges: several processes must agree to stop

    def __init__(self, checkpointer: Checkpointer, progress: Progress):
        self.checkpointer = checkpointer
        self.progress = progress
        self._signal_number: int | None = None
        self._signal_time_s = 0.0

    def before_train(self, loop: TrainLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle_signal)

    def after_step(self, loop: TrainLoop) -> None:
        is_epoch_end = loop.iteration % loop.iters_per_epoch == 0
        if not is_epoch_end:  # at the end of an epoch, its evaluation and its metrics come first
            self._stop_if_signaled(loop)

    def after_epoch(self, loop: TrainLoop) -> None:
        self._stop_if_signaled(loop)

    def after_train(self, loop: TrainLoop) -> None:
        restore_default_signals()

    def _stop_if_signaled(self, loop: TrainLoop) -> None:
        if comm.get_world_size() > 1 and loop.iteration % self.SYNC_PERIOD:
            return
        signals = [number for number in comm.all_gather_object(self._signal_number) if number is not None]
        if not signals or loop.iteration == loop.max_iterations:
            return
        self.progress.iteration = loop.iteration
        path, *is_saved = self.checkpointer.last_saved
        if comm.is_main_process() and is_saved != [loop.iteration, False]:
            path = self.checkpointer.save(STOPPED_FILE, self.progress)
        # Wait for the checkpoint: the first process to exit stops the others.
        raise StoppedBySignalError(signals[0], str(comm.all_gather_object(path)[0]))

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signal_number is not None and now - self._signal_time_s > SAME_SIGNAL_S:
            raise SystemExit(128 + number)
        self._signal_number, self._signal_time_s = number, now


def restore_default_signals() -> None:
    """Restore the default handlers of SIGTERM and SIGINT, which end the process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
