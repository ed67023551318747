"""How a loading process begins, what it does about signals, how one that hangs is ended, and what is told of a death."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess

from fastreid.utils.errors import EnvironmentSetupError

_PATIENCE_S = 5  # for all together: a process that waits for a dead disk cannot even be killed


def leave_signals_to_main(worker: int) -> None:
    """Let the main process answer what is sent to all processes of a run; its own SIGTERM ends the worker.

    Ctrl-C in a terminal and the SIGTERM of SLURM or systemd reach workers too, while the main process still wants
    their batches, to end its step and save. SIGTERM from the main process comes when the loader is closed or Python
    ends. Only the sender tells the two apart, and a Python handler is not told the sender; so a thread waits for the
    signal, which also ends a worker that is stuck in a drawing. A worker whose main process is gone leaves by itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere there is no word of the sender, and SIGTERM ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_when_main_says, daemon=True).start()


def _end_when_main_says() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        continue
    os._exit(0)


def end_at_once(processes: Sequence[BaseProcess]) -> None:
    """Kill loading processes of which one died or hangs.

    One that is stopped, or waits for a disk that is gone, does not hear the SIGTERM that Python sends at its end, and
    Python would wait for it for ever, as it still does for one that cannot be killed. What torch does at a worker's death, which is to raise, is left out meanwhile.
    """
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if is_main else None
    try:
        for process in processes:
            process.kill()
        deadline = time.monotonic() + _PATIENCE_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)


def death_of_worker(reason: str, awaited: str = "") -> EnvironmentSetupError:
    """What is told of a loading process that died: torch's reason, and what was awaited of it, if that is known."""
    mend = "lower DATALOADER.NUM_WORKERS, or give more memory, also in /dev/shm, where finished batches wait"
    return EnvironmentSetupError(f"a loading process died ({' '.join(reason.split())}){awaited}; {mend}")


@contextlib.contextmanager
def deaths_told(tell: Callable[[str], EnvironmentSetupError] = death_of_worker) -> Iterator[None]:
    """Inside, a loading process that dies is a plain fault, wherever the main thread happens to be when torch tells of it.

    Args:
        tell: gives the fault for torch's reason; that of a loader where the process can be no other's, since it knows
            which drawings were awaited.

    Raises:
        EnvironmentSetupError: a loading process died.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker"):
            raise tell(str(error))
        raise
