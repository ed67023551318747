"""The one way files are written: whole or not at all, and the digest that tells."""

import contextlib
import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastreid.utils.errors import StorageError

TEMPORARY_MARK = ".fastreid-tmp-"  # between a file's name and the eight letters `mkstemp` adds; .gitignore has it too


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file that appears under its name only when it is complete and on the disk.

    The bytes go to a temporary file in the same folder; at the end it is flushed, synced and renamed, and the folder
    is synced. A kill at any moment leaves either the old file or the new one; a fault inside the block leaves the old
    one and removes the temporary. Missing folders are made.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the previous file stays.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}{TEMPORARY_MARK}", dir=path.parent)
        os.fchmod(handle, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") if text else os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        )
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with atomic_write(path, text=True) as file:
        file.write(text)


def check_writable(path: str | os.PathLike) -> None:
    """Refuse a file that `atomic_write` could not write, before there is any work in it; makes missing folders.

    Raises:
        StorageError: the folder cannot be written, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path}: is a folder, and a file should be written there; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}{TEMPORARY_MARK}", dir=path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error}); choose another folder")
    os.close(handle)
    os.unlink(temporary)


def remove_temporary_files(folder: str | os.PathLike) -> list[str]:
    """Remove the temporary files a killed writer left in a folder; returns their names."""
    ending = re.compile(rf"{re.escape(TEMPORARY_MARK)}\w{{8}}$")
    stale = sorted(file for file in Path(folder).iterdir() if ending.search(file.name) and file.is_file())
    for file in stale:
        file.unlink(missing_ok=True)
    return [file.name for file in stale]


def open_regular_file(path: str, flags: int) -> int:
    """An opener for `open` that does not wait: a pipe or device in place of a file would block or go on for ever.

    Raises:
        OSError: there is no file, or something else than one.
    """
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return handle


def read_file_bytes(path: str | os.PathLike) -> bytes:
    """A file's bytes.

    Raises:
        OSError: there is no file, something else than one, or it cannot be read.
    """
    with open(path, "rb", opener=open_regular_file) as file:
        return file.read()


def compute_sha256(path: str | os.PathLike) -> str:
    """The sha256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb", opener=open_regular_file) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
