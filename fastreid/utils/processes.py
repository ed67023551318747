"""Processes that do one kind of work beside the main one."""

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

T = TypeVar("T")
Task = TypeVar("Task")
Result = TypeVar("Result")


def create_worker_pool(num_workers: int, *, preload: str) -> ProcessPoolExecutor:
    """A pool of processes that start clean and end with the one that started them, however that ends.

    A forked copy of a process that runs threads can hang, so where there is a fork server it makes them; it imports once.
    Ctrl-C in a terminal reaches every process; only the one that made the pool answers it.

    Args:
        num_workers: how many, at least 1.
        preload: the module their work lies in.
    """
    clean = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(clean)
    context.set_forkserver_preload([preload])
    return _WorkerPool(num_workers, mp_context=context, initializer=_exit_with_parent)


def map_in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, num_workers: int, preload: str, activity: str
) -> Iterator[Result]:
    """The answers to all tasks, in their order, worked out by a clean pool; few at a time, so that none pile up.

    Args:
        function: a function at the top of its module.
        tasks: what it is given, one after the other.
        num_workers: processes; 0 works in this one.
        preload: the module of `function`.
        activity: what it does, for the message: "decoding".

    Raises:
        EnvironmentSetupError: a process died.
    """
    if num_workers == 0:
        yield from map(function, tasks)
        return
    with create_worker_pool(num_workers, preload=preload) as pool:
        given = (pool.submit(function, task) for task in tasks)
        running = deque(itertools.islice(given, 4 * num_workers))
        try:
            while running:
                yield running.popleft().result()
                running.extend(itertools.islice(given, 1))
        except BrokenProcessPool:
            raise EnvironmentSetupError(
                f"a {activity} process died; free memory, or take fewer (DATALOADER.NUM_WORKERS); a script of your own does "
                'its work under `if __name__ == "__main__":`'
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def defer_signals(*signals: int) -> Iterator[None]:
    """Inside, these signals wait. What is started inside keeps them waiting, unless it is told otherwise."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _defer_keyboard_interrupt() -> Iterator[None]:
    """Inside, Ctrl-C waits, also one that reached another thread of this process; what is started never sees it."""
    if threading.current_thread() is not threading.main_thread():  # no signal interrupts it
        with defer_signals(signal.SIGINT):
            yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        with defer_signals(signal.SIGINT):
            yield
    finally:
        signal.signal(signal.SIGINT, before)
        for number in came[:1]:
            signal.raise_signal(number)


class _WorkerPool(ProcessPoolExecutor):
    """A pool whose workers never see Ctrl-C, and that is not torn down while one of them starts."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        with _defer_keyboard_interrupt():  # workers, and the server that forks them, are started here when they are needed
            return super().submit(fn, *args, **kwargs)


def is_importing_main_script() -> bool:
    """Whether this process is a pool's that reads its main script again, before it is given any work.

    A script whose work is not under `if __name__ == "__main__":` begins that work anew there, and must not wait for
    what its parent holds.
    """
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def _exit_with_parent() -> None:
    """Watch the process that made the pool: one that is killed tells its workers nothing, and they would wait for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
