"""One process at a time: a lock that a killed process gives back by dying."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fastreid.utils.errors import EnvironmentSetupError, StorageError
from fastreid.utils.logger import get_logger
from fastreid.utils.processes import is_importing_main_script


@contextlib.contextmanager
def exclusive_lock(lock: str | os.PathLike, *, activity: str, config_key: str) -> Iterator[None]:
    """Inside, no other process holds this lock; the folder is made where it is missing.

    The lock file stays, as a lock that is removed locks nobody out.

    Args:
        lock: the lock's file, in the folder it guards.
        activity: what the other does when one has to wait, such as "draws".
        config_key: the key that names another folder, for the message.

    Raises:
        StorageError: the folder cannot be written, there or by what is done inside.
        EnvironmentSetupError: the script of a process that is only starting asks, whose parent may hold the lock.
    """
    if is_importing_main_script():
        raise EnvironmentSetupError(
            'this script does its work when it is imported; put it under `if __name__ == "__main__":`'
        )
    folder, handle = Path(lock).parent, None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            get_logger().info(f"another run {activity} in {folder}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror or error}); free space or choose another {config_key}"
        ) from error
    finally:
        if handle is not None:
            os.close(handle)
