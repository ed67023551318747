"""Atomic file writing, safe reading and sha256 digests."""

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

TEMPORARY_MARK = ".fastreid-tmp-"  # between a file's name and the 8 characters of `mkstemp`; also in .gitignore
_O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # POSIX only


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a file that appears under its name only once it is complete and on disk.

    Data is written to a temporary file in the same folder, which is flushed, synced and renamed at the end; then the
    folder is synced. A kill at any moment leaves the old file or the new one. An exception in the block keeps the old
    file and deletes the temporary one. Missing folders are created.

    Args:
        path: the file.
        text: open as UTF-8 text instead of binary.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the previous file is kept.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}{TEMPORARY_MARK}", dir=path.parent)
        if hasattr(os, "fchmod"):  # POSIX only
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


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path, text=True) as file:
        file.write(text)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check before any work that `atomic_write` can write a file; create missing folders.

    Raises:
        StorageError: the folder cannot be written, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path}: is a folder, but must be a file; choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}{TEMPORARY_MARK}", dir=path.parent)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error}); choose another folder")
    os.close(handle)
    os.unlink(temporary)


def remove_temporary_files(folder: str | os.PathLike[str]) -> list[str]:
    """Delete the temporary files that a killed process left in a folder, and return their names."""
    pattern = re.compile(rf"{re.escape(TEMPORARY_MARK)}\w{{8}}$")
    leftovers = sorted(file for file in Path(folder).iterdir() if pattern.search(file.name) and file.is_file())
    for file in leftovers:
        file.unlink(missing_ok=True)
    return [file.name for file in leftovers]


def open_regular_file(path: str, flags: int) -> int:
    """Open a regular file, as `opener` of `open`; pipes and devices, which could block or never end, are rejected.

    Returns:
        A file descriptor.

    Raises:
        OSError: the file does not exist or is not a regular file.
    """
    handle = os.open(path, flags | _O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return handle


def read_file_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: the file does not exist, is not a regular file, or cannot be read.
    """
    with open(path, "rb", opener=open_regular_file) as file:
        return file.read()


def compute_sha256(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a regular file as 64 hexadecimal digits.

    Raises:
        OSError: as in `read_file_bytes`.
    """
    digest = hashlib.sha256()
    with open(path, "rb", opener=open_regular_file) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open folders, and syncs a rename with the file
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
