"""Processes that do one kind of work beside the main one."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def clean_pool(num_workers: int, *, preload: str) -> ProcessPoolExecutor:
    """A pool of processes that start clean and end with the one that started them, however that ends.

    A forked copy of a process that runs threads can hang, so where there is a fork server it makes them; it imports once.

    Args:
        num_workers: how many, at least 1.
        preload: the module their work lies in.
    """
    clean = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(clean)
    context.set_forkserver_preload([preload])
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_end_with_parent)


def is_starting() -> bool:
    """Whether this process is a pool's that reads its main script again, before it is given any work.

    A script whose work is not under `if __name__ == "__main__":` begins that work anew there, and must not wait for
    what its parent holds.
    """
    return bool(getattr(multiprocessing.current_process(), "_inheriting", False))


def _end_with_parent() -> None:
    """Watch the process that made the pool: one that is killed tells its workers nothing, and they would wait for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
