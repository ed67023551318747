"""Turn errors of the training loop into messages with their cause."""

import contextlib
import signal
from collections.abc import Iterator, Sequence

from fastreid.engine.checkpoint.checkpointer import Checkpointer
from fastreid.engine.hooks.metrics import write_bad_step_record
from fastreid.engine.setup import check_output_folder
from fastreid.engine.step.train_step import NonFiniteLossError
from fastreid.engine.train_loop import TrainLoop
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.cli import StoppedBySignalError
from fastreid.utils.errors import EnvironmentSetupError, StorageError
from fastreid.utils.text import summarize_error


@contextlib.contextmanager
def explain_training_errors(
    loop: TrainLoop, *, drawings: Sequence[Drawing], checkpointer: Checkpointer, is_deterministic: bool
) -> Iterator[None]:
    """Explain the errors of a training loop that runs inside this context.

    Args:
        loop: the loop.
        drawings: the training list.
        checkpointer: of the run.
        is_deterministic: DETERMINISTIC of the config.

    Raises:
        NonFiniteLossError: a loss or gradient is NaN or Inf; `bad_step.json` lists the drawings.
        EnvironmentSetupError: DETERMINISTIC is True and an operation has no deterministic implementation.
        StoppedBySignalError: Ctrl-C, after a checkpoint.
    """
    try:
        yield
    except NonFiniteLossError as error:
        check_output_folder(checkpointer.folder)
        names = [drawings[row].name for row in error.batch.rows.tolist()]
        processes = comm.all_gather_object((names, error.values))  # the error is raised on every process
        record = write_bad_step_record(checkpointer.folder, loop.iteration, processes)
        raise NonFiniteLossError(
            f"iteration {loop.iteration + 1}: {error}; {record} lists its drawings", error.batch, error.values
        )
    except StorageError:
        check_output_folder(checkpointer.folder)  # a lost folder is the cause of other errors
        raise
    except KeyboardInterrupt:
        path, saved_iteration, _ = checkpointer.last_saved
        if path is None or saved_iteration != loop.iteration:
            raise
        raise StoppedBySignalError(signal.SIGINT, str(path))
    except RuntimeError as error:
        if is_deterministic and "deterministic" in str(error):
            raise EnvironmentSetupError(f"DETERMINISTIC is True: {summarize_error(error)[:200]}; set it to False")
        raise
