"""Worker processes for parallel work on the CPU."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.resources import explain_process_limit
from fastreid.utils.termination import raise_on_sigterm

T = TypeVar("T")
Task = TypeVar("Task")
Result = TypeVar("Result")


def create_worker_pool(num_workers: int, *, preload: str) -> ProcessPoolExecutor:
    """Create a pool of processes that do not inherit threads and exit with this process, however it ends.

    A forked copy of a process with threads can hang, so a fork server starts the workers where the system has one; it
    imports the module only once. Ctrl-C in a terminal reaches every process, but only this one handles it.

    Args:
        num_workers: number of processes, at least 1.
        preload: name of the module that contains the workers' function.
    """
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([preload])
    return _WorkerPool(num_workers, mp_context=context, initializer=_exit_with_parent)


def map_in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, num_workers: int, preload: str, activity: str
) -> Iterator[Result]:
    """Yield `function(task)` for each task, in order, computed by a worker pool.

    At most four tasks per worker are pending, so tasks and results do not accumulate in memory. SIGTERM ends the pool
    and raises TerminatedError, so that no worker and no semaphore remains.

    Args:
        function: a function at module level.
        tasks: its arguments, consumed lazily.
        num_workers: number of processes; 0 computes in this process.
        preload: name of the module that contains `function`.
        activity: what the function does, for the message, such as "decoding".

    Raises:
        EnvironmentSetupError: a worker process died.
    """
    if num_workers == 0:
        yield from map(function, tasks)
        return
    with raise_on_sigterm(), create_worker_pool(num_workers, preload=preload) as pool:
        futures = (pool.submit(function, task) for task in tasks)
        pending = deque(itertools.islice(futures, 4 * num_workers))
        try:
            while pending:
                yield pending.popleft().result()
                pending.extend(itertools.islice(futures, 1))
        except BrokenProcessPool:
            raise EnvironmentSetupError(
                f"a {activity} process died; free memory or use fewer workers (DATALOADER.NUM_WORKERS); in your own "
                'script, start the work under `if __name__ == "__main__":`'
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def defer_signals(*signals: int) -> Iterator[None]:
    """Block signals for this thread until the block ends; processes started inside inherit the blocked signals.

    Has no effect on a system without `pthread_sigmask` (Windows).
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextlib.contextmanager
def _defer_stop() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM, also if another thread receives them; processes started inside never get Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        with defer_signals(signal.SIGINT):
            yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda number, frame: received.append(number)) for number in numbers]
    try:
        with defer_signals(signal.SIGINT):
            yield
    finally:
        for number, handler in zip(numbers, previous):
            signal.signal(number, handler)
        for one in received[:1]:
            signal.raise_signal(one)


class _WorkerPool(ProcessPoolExecutor):
    """A pool whose workers never get Ctrl-C, and that neither Ctrl-C nor SIGTERM interrupts while it starts one."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        with explain_process_limit(), _defer_stop():  # workers and the fork server are started here, on demand
            return super().submit(fn, *args, **kwargs)


def is_importing_main_script() -> bool:
    """Return whether this is a new worker process that is importing the main script, before it gets any work.

    A script that starts its work outside of `if __name__ == "__main__":` starts it again there, and must not wait for
    locks of its parent.
    """
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def _exit_with_parent() -> None:
    """Watch the parent process from a thread; workers of a killed parent are not notified and would wait forever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
