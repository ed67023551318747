"""Temporary folders whose remains, after a process was killed, the next process deletes."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fastreid.utils.locks import try_lock

_LOCK_NAME = ".lock"
_MIN_AGE_S = 60.0  # of a folder that is deleted: a new one is not locked at once


@contextlib.contextmanager
def make_temporary_folder(prefix: str) -> Iterator[Path]:
    """Create a folder and delete it at the end, as well as older ones of the same prefix whose process was killed.

    A lock shows whether the process of a folder still runs. Without file locks (Windows), older folders are kept.

    Args:
        prefix: start of the name.
    """
    _delete_remains(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        lock = Path(name, _LOCK_NAME)
        lock.touch()
        handle = os.open(lock, os.O_RDONLY)
        try:
            try_lock(handle, without_locks=False)
            yield Path(name)
        finally:
            os.close(handle)


def _delete_remains(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # of another user, or deleted by another process
            if time.time() - folder.stat().st_mtime < _MIN_AGE_S:
                continue
            handle = os.open(folder / _LOCK_NAME, os.O_RDONLY)
            try:
                if try_lock(handle, without_locks=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
