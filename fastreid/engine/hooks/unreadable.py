"""Record training files that cannot be read."""

import contextlib

from fastreid.data.loading.unreadable import UnreadableDrawingError, UnreadableDrawings
from fastreid.engine.checkpoint.checkpointer import Checkpointer
from fastreid.engine.resume.unreadable_record import UnreadableRecord
from fastreid.engine.train_loop import Hook, TrainLoop
from fastreid.utils.errors import StorageError


class RecordUnreadable(Hook):
    """Record the training files that a run skips, or that stop it, so that a resumed run accepts repaired ones.

    It precedes the hooks that save checkpoints.

    Args:
        checkpointer: of the run.
        unreadable: drawings that the run has skipped; None: the first one stops it.
    """

    def __init__(self, checkpointer: Checkpointer, unreadable: UnreadableDrawings | None):
        self.check_folder = checkpointer.check_folder
        self.record = UnreadableRecord(checkpointer.folder, checkpointer.data)
        self.unreadable = unreadable
        self._recorded: frozenset[int] = frozenset()

    def after_step(self, loop: TrainLoop) -> None:
        self._record_skipped()

    def after_epoch(self, loop: TrainLoop) -> None:
        self._record_skipped()  # a resumed run may begin with the end of an epoch

    def on_error(self, loop: TrainLoop, error: BaseException) -> None:
        with contextlib.suppress(StorageError):
            self._record_skipped()
            if isinstance(error, UnreadableDrawingError):
                self.check_folder()
                self.record.add(error.rows)

    def _record_skipped(self) -> None:
        rows = self.unreadable.rows if self.unreadable is not None else self._recorded
        if rows != self._recorded:
            self.check_folder()
            self.record.add(rows - self._recorded)
            self._recorded = rows
