"""Worker processes of the loaders: signals, ending stuck workers, errors of workers that died."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.resources import ENLARGE_SHARED_MEMORY, SHARED_MEMORY, format_bytes, get_free_bytes

_JOIN_TIMEOUT_S = 5  # for all workers together: a process that waits for a dead disk cannot even be killed


@dataclass(frozen=True)
class Workers:
    """Settings of the worker processes of a loader.

    Args:
        num: number of workers; 0 loads in the main process.
        timeout_s: time without a batch after which a worker counts as stuck; 0: no limit.
        pin_memory: put batches in page-locked memory, which transfers faster to a GPU.
        page_bytes: size of a transformed page, from which the shared memory for all batches is computed; 0: unknown.
        num_processes: processes on this machine that load drawings at the same time.
    """

    num: int = 0
    timeout_s: float = 0
    pin_memory: bool = False
    page_bytes: int = 0
    num_processes: int = 1

    def __post_init__(self) -> None:
        if self.num < 0 or self.timeout_s < 0:
            raise InputError(
                f"DATALOADER.NUM_WORKERS is {self.num} and TIMEOUT_S {self.timeout_s}; allowed are 0 and more"
            )


IN_PROCESS = Workers()


def ignore_signals_in_worker(worker: int) -> None:
    """Ignore SIGINT, and SIGTERM unless the main process sent it.

    Ctrl-C in a terminal and the SIGTERM of SLURM or systemd reach the workers too, while the main process still needs
    their batches to finish its iteration and save. The main process sends SIGTERM when the loader is closed or Python
    exits. Only the sender distinguishes the two, and a Python signal handler does not receive the sender, so a thread
    waits for the signal; this also ends a worker that is stuck in a drawing. A worker exits when its main process is
    gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":  # other systems do not report the sender; there, SIGTERM ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_exit_on_signal_of_parent, daemon=True).start()


def _exit_on_signal_of_parent() -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        continue
    os._exit(0)


def kill_workers(processes: Sequence[BaseProcess]) -> None:
    """Kill the workers of a loader after one of them died or got stuck.

    A stopped worker, or one that waits for a dead disk, does not receive the SIGTERM that Python sends at exit, and
    Python would wait for it without limit (it still does for one that cannot be killed). Torch's handler, which raises
    when a worker dies, is disabled meanwhile.
    """
    is_main = threading.current_thread() is threading.main_thread()
    sigchld = getattr(signal, "SIGCHLD", None)  # not on Windows, where torch has no such handler
    previous = signal.signal(sigchld, signal.SIG_DFL) if is_main and sigchld is not None else None
    try:
        for process in processes:
            process.kill()
        deadline = time.monotonic() + _JOIN_TIMEOUT_S
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        if sigchld is not None and previous is not None:
            signal.signal(sigchld, previous)


def worker_died_error(reason: str, pending: str = "") -> EnvironmentSetupError:
    """Return the error for a worker that died.

    Args:
        reason: torch's message.
        pending: the drawings the worker was loading, if known.
    """
    if "Bus error" in reason:
        free = format_bytes(get_free_bytes(SHARED_MEMORY))
        return EnvironmentSetupError(
            f"a data loading worker died because shared memory is full ({SHARED_MEMORY} has {free} free), not "
            f"because of a drawing; {ENLARGE_SHARED_MEMORY}, or lower DATALOADER.NUM_WORKERS"
        )
    hint = "lower DATALOADER.NUM_WORKERS, or provide more memory"
    return EnvironmentSetupError(f"a data loading worker died ({' '.join(reason.split())}){pending}; {hint}")


@contextlib.contextmanager
def translate_worker_errors(
    make_error: Callable[[str], EnvironmentSetupError] = worker_died_error,
) -> Iterator[None]:
    """Turn torch's error for a dead worker into an EnvironmentSetupError; torch raises it anywhere in the main thread.

    Args:
        make_error: returns the error for torch's message. If all workers belong to one loader, its `worker_error`,
            which names the drawings that were being loaded.

    Raises:
        EnvironmentSetupError: a worker died.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker"):
            raise make_error(str(error))
        raise
