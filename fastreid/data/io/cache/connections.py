"""Connections to a cache file for reading, one per process and thread, and what SQLite's errors mean for a run."""

import contextlib
import errno
import functools
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastreid.data.io.cache.tables as tables
from fastreid.utils.errors import FastreidError, StorageError
from fastreid.utils.files import check_own_file, describe_write_error
from fastreid.utils.logger import get_logger
from fastreid.utils.resources import explain_full_shared_memory, explain_process_limit, find_resource_error

_LOCK_MEMORY_S = 60.0  # a file that was locked in the last seconds is not waited for again
_OTHER_FOLDER = "choose another DATASETS.CACHE.FOLDER"


class CacheLockedError(StorageError):
    """Another program holds the lock of the cache file; pages can be read from their files instead."""


class Connections:
    """Connections of this process and of workers that are forked from it.

    Args:
        path: the cache file.
    """

    def __init__(self, path: Path):
        self.path = path
        # A connection belongs to one process and thread; one inherited through a fork is neither used nor closed.
        self.open: dict[tuple[int, int], sqlite3.Connection] = {}
        with explain_process_limit(), explain_full_shared_memory():  # may start the process that tracks semaphores
            self._num_from_files = multiprocessing.Value("q", 0)  # pages read while locked, by all processes
            self._last_locked = _create_last_locked(path.absolute())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "open": {}}

    def get(self) -> sqlite3.Connection:
        """Return this process's and thread's connection for reading."""
        owner = os.getpid(), threading.get_ident()
        if owner not in self.open:
            # A connection that may write also rolls back the unfinished transaction of a killed writer.
            mode = "rw" if os.access(self.path.parent, os.W_OK) else "ro"
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            check_own_file(self.path)
            timeout_s = 0 if self._is_known_to_be_locked() else tables.LOCK_WAIT_S
            self.open[owner] = sqlite3.connect(uri, uri=True, timeout=timeout_s)
        return self.open[owner]

    def close(self) -> None:
        """Close the connection of this process and thread."""
        connection = self.open.pop((os.getpid(), threading.get_ident()), None)
        if connection is not None:
            connection.close()

    def explain(self, error: sqlite3.Error) -> FastreidError:
        """Close the connection, which may still hold a lock, and return the error of a run for an error of SQLite."""
        self.close()
        if tables.is_locked(error):
            self._remember_lock()
        return _explain_sqlite_error(self.path, error)

    def stop_waiting(self) -> None:
        """Count a page that is read from its file because of a lock, and wait for no further lock in this process."""
        self.get().execute("PRAGMA busy_timeout = 0")
        with self._num_from_files.get_lock():
            self._num_from_files.value += 1
        if self._remember_lock():
            get_logger().warning(
                f"{self.path}: another program has locked it for {tables.LOCK_WAIT_S:.0f} s; reading the files of the "
                f"drawings instead, which is slower. End that program, or {_OTHER_FOLDER}"
            )

    def log_pages_from_files(self) -> None:
        """Log how many pages were read from their files because the cache was locked; called when a loader ends."""
        num, self._num_from_files.value = self._num_from_files.value, 0
        if num:
            get_logger().warning(f"{self.path}: {num} pages were read from their files while it was locked")

    def _is_known_to_be_locked(self) -> bool:
        last: float = self._last_locked.value
        return last > 0 and time.monotonic() < last + _LOCK_MEMORY_S

    def _remember_lock(self) -> bool:
        """Remember that the file is locked now; return whether this is new to all readers of the run."""
        with self._last_locked.get_lock():
            is_new = not self._is_known_to_be_locked()
            self._last_locked.value = time.monotonic()
        return is_new


@functools.lru_cache(maxsize=64)
def _create_last_locked(path: Path) -> Any:
    """Return the time when a file was found locked, 0: never; all readers of a run share it, so that only one waits."""
    return multiprocessing.Value("d", 0.0)


def _explain_sqlite_error(path: Path, error: sqlite3.Error) -> FastreidError:
    if tables.is_damaged(error):
        return StorageError(f"{path}: damaged ({error}); delete the file, and the next run decodes it again")
    if tables.is_locked(error):
        return CacheLockedError(
            f"{path}: another program has locked it for {tables.LOCK_WAIT_S:.0f} s; "
            f"end that program, or {_OTHER_FOLDER}"
        )
    if "unable to open" in str(error):
        try:  # SQLite does not say that too many files are open
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as cause:
            resource_error = find_resource_error(cause)
            if resource_error is not None:
                return resource_error
    return StorageError(f"{path}: {error}; free space, or {_OTHER_FOLDER}")


@contextlib.contextmanager
def explain_full_disk(path: Path, num_bytes: int) -> Iterator[None]:
    """Raise a StorageError with the needed and the free bytes if SQLite finds the disk full.

    Args:
        path: the cache file.
        num_bytes: bytes to write.
    """
    try:
        yield
    except sqlite3.Error as error:
        if "full" not in str(error):
            raise
        reason = describe_write_error(path, OSError(errno.ENOSPC, str(error)), num_bytes=num_bytes)
        raise StorageError(f"{path}: cannot be written ({reason}); free space, or {_OTHER_FOLDER}")
