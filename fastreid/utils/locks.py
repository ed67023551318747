"""File locks, which the operating system releases when the process ends, even if it is killed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fastreid.utils.errors import EnvironmentSetupError, StorageError
from fastreid.utils.files import describe_write_error, open_own_file
from fastreid.utils.logger import get_logger
from fastreid.utils.processes import is_importing_main_script
from fastreid.utils.resources import find_resource_error


@contextlib.contextmanager
def exclusive_lock(lock: str | os.PathLike[str], *, activity: str, config_key: str) -> Iterator[None]:
    """Hold a lock that only one process can hold; wait while another holds it.

    The lock file is not deleted, because a process that waits for a deleted file would not exclude a third one. On a
    system without `fcntl` (Windows) nothing is locked, with a warning.

    Args:
        lock: the lock file, in the folder it protects; a missing folder is created.
        activity: what the holder does, for the message, such as "rendering drawings".
        config_key: the config key of the folder, for the message.

    Raises:
        StorageError: the folder cannot be written, by the lock or by the code inside, or the lock file is not a regular
            file.
        EnvironmentSetupError: called while a worker process imports the main script; its parent may hold the lock.
    """
    if is_importing_main_script():
        raise EnvironmentSetupError(
            'this script starts its work when it is imported; move it under `if __name__ == "__main__":`'
        )
    folder, handle = Path(lock).parent, None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open_own_file(lock, os.O_RDWR | os.O_CREAT)
        _wait_for_lock(handle, folder, activity)
        yield
    except OSError as error:
        raise find_resource_error(error) or StorageError(
            f"{folder}: cannot be written ({describe_write_error(lock, error)}); free space or choose another "
            f"{config_key}"
        ) from error
    finally:
        if handle is not None:
            os.close(handle)


def try_lock(handle: int, *, without_locks: bool) -> bool:
    """Lock an open file and return whether that was possible; False if another process has locked it.

    Args:
        handle: the open file; closing it releases the lock.
        without_locks: the result on a system without `fcntl` (Windows), where nothing is locked.
    """
    try:
        import fcntl
    except ImportError:
        return without_locks
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _wait_for_lock(handle: int, folder: Path, activity: str) -> None:
    try:
        import fcntl
    except ImportError:
        get_logger().warning(f"{folder}: this system has no file locks; let only one run use the folder at a time")
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        get_logger().info(f"another run is {activity} in {folder}; waiting for it")
        fcntl.flock(handle, fcntl.LOCK_EX)
