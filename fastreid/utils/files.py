"""Atomic file writing, files of fixed names, safe reading and sha256 digests."""

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastreid.utils.errors import FastreidError, StorageError
from fastreid.utils.resources import FULL_DISK_ERRORS, find_resource_error, format_bytes, get_free_bytes

TEMPORARY_MARK = ".fastreid-tmp-"  # between a file's name and 8 random characters; also in .gitignore
_O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # POSIX only
_O_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # POSIX only
_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows only


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, text: bool = False, make_folder: bool = True) -> Iterator[IO[Any]]:
    """Open a file that appears under its name only once it is complete and on disk.

    Data is written to a temporary file in the same folder, which is flushed, synced and renamed at the end; then the
    folder is synced. A kill at any moment leaves the old file or the new one. An exception in the block keeps the old
    file and deletes the temporary one. The permissions are those of the umask. A symbolic
    link or pipe of that name is replaced; what a link points to does not change.

    Args:
        path: the file.
        text: open as UTF-8 text instead of binary.
        make_folder: create missing folders.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the previous file is kept.
        EnvironmentSetupError: too many files are open.
    """
    path = Path(path)
    temporary: str | None = None
    raw: _CountingFile | None = None
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = create_temporary_file(path)
        raw = _CountingFile(handle, "wb")
        buffered = _CountingBuffer(raw)
        with io.TextIOWrapper(buffered, encoding="utf-8") if text else buffered as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except Exception as error:
        failure = raw.failure if raw is not None and raw.failure is not None else error
        if not isinstance(failure, OSError):
            raise
        if temporary is not None and os.path.exists(temporary):  # before the free space is measured
            os.unlink(temporary)
        raise write_error(path, failure, num_bytes=raw.num_bytes if raw is not None else None)
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def create_temporary_file(path: Path) -> tuple[int, str]:
    """Create an empty file next to a file, with the permissions of the umask; return its descriptor and path."""
    while True:
        temporary = f"{path}{TEMPORARY_MARK}{secrets.token_hex(4)}"
        with contextlib.suppress(FileExistsError):
            return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _O_NOFOLLOW | _O_BINARY, 0o666), temporary


def write_error(path: str | os.PathLike[str], error: OSError, *, num_bytes: int | None = None) -> FastreidError:
    """Return the error for a file that cannot be written.

    Args:
        path: the file.
        error: the cause.
        num_bytes: size of what was to be written, if known; part of the message if the disk is full.
    """
    resource_error = find_resource_error(error)
    if resource_error is not None:
        return resource_error
    return StorageError(
        f"{path}: cannot be written ({describe_write_error(path, error, num_bytes=num_bytes)}); free space or choose "
        "another folder"
    )


def describe_write_error(path: str | os.PathLike[str], error: OSError, *, num_bytes: int | None = None) -> str:
    """Return the reason of a write error; for a full disk also the bytes that were needed and those that are free."""
    reason = error.strerror or str(error)
    if error.errno not in FULL_DISK_ERRORS:
        return reason
    numbers = [] if num_bytes is None else [f"{format_bytes(num_bytes)} needed"]
    if error.errno == errno.ENOSPC:
        numbers.append(_describe_free_space(Path(path).parent))
    return f"{reason}: {', '.join(numbers)}" if numbers else reason


def _describe_free_space(folder: Path) -> str:
    if hasattr(os, "statvfs") and folder.is_dir():  # POSIX only
        status = os.statvfs(folder)
        if status.f_files and not status.f_favail:
            return "no inode free, so no file can be created"
    return f"{format_bytes(get_free_bytes(folder))} free"


class _CountingFile(io.FileIO):
    """A binary file that keeps counting after the disk is full, so that the error gives the size of the whole file.

    Attributes:
        failure: the error of a full disk; None while everything was written.
        num_bytes: size that the file has, or would have on a larger disk.
    """

    failure: OSError | None = None
    num_bytes = 0

    def write(self, data: Any, /) -> int:
        if self.failure is None:
            try:
                written = super().write(data)
            except OSError as error:
                if error.errno not in FULL_DISK_ERRORS:
                    raise
                self.failure = error
            else:
                self.num_bytes = max(self.num_bytes, self.tell())
                return written
        written = memoryview(data).nbytes
        self.num_bytes = max(self.num_bytes, self.seek(written, os.SEEK_CUR))
        return written


class _CountingBuffer(io.BufferedWriter):
    """Buffers a `_CountingFile` and raises its error when it is flushed, which writers do at their end."""

    raw: _CountingFile

    def flush(self) -> None:
        super().flush()
        if self.raw.failure is not None:
            raise self.raw.failure


def expand_home(path: str | os.PathLike[str]) -> str:
    """Return a path in which a leading `~` or `~user` is replaced by the home folder, if that user exists."""
    return os.path.expanduser(os.fspath(path))


def write_text(path: str | os.PathLike[str], text: str, *, make_folder: bool = True) -> None:
    """Write a UTF-8 text file atomically; arguments as for `atomic_write`."""
    with atomic_write(path, text=True, make_folder=make_folder) as file:
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
        handle, temporary = create_temporary_file(path)
    except OSError as error:
        raise write_error(path, error)
    os.close(handle)
    os.unlink(temporary)


def remove_temporary_files(folder: str | os.PathLike[str]) -> list[str]:
    """Delete the temporary files that a killed process left in a folder, and return their names."""
    pattern = re.compile(rf"{re.escape(TEMPORARY_MARK)}\w{{8}}$")
    leftovers = sorted(file for file in Path(folder).iterdir() if pattern.search(file.name) and file.is_file())
    for file in leftovers:
        file.unlink(missing_ok=True)
    return [file.name for file in leftovers]


def open_own_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file that a run writes under a fixed name, as `opener` of `open`; use it for every such file.

    A symbolic link is not followed, since its target is a file of somebody else; a pipe or device is not opened, since
    it could block. Both would already be in the folder when the run starts.

    Returns:
        A file descriptor.

    Raises:
        StorageError: the name is that of a symbolic link, a pipe, a device or a folder.
        OSError: the file cannot be opened.
    """
    try:
        handle = os.open(path, flags | _O_NONBLOCK | _O_NOFOLLOW | _O_BINARY, 0o666)
    except OSError:
        check_own_file(path)
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        check_own_file(path)
        raise StorageError(f"{path}: is not a regular file; remove it or choose another folder")
    return handle


def check_own_file(path: str | os.PathLike[str]) -> None:
    """Check that a file that a run writes under a fixed name is a regular file or does not exist.

    Raises:
        StorageError: it is a symbolic link, a pipe, a device or a folder.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe", stat.S_IFDIR: "a folder"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        raise StorageError(f"{path}: is {kind}, but must be a regular file; remove it or choose another folder")


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append a line to a UTF-8 text file, completely or not at all; create the file if it is missing.

    Raises:
        StorageError: the disk is full, or the file is not a regular file.
        EnvironmentSetupError: too many files are open.
    """
    data = f"{line}\n".encode()
    try:
        handle = open_own_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(handle).st_size
            try:
                write_all(handle, data)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)  # half a line would damage the next one
                raise
        finally:
            os.close(handle)
    except OSError as error:
        raise write_error(path, error, num_bytes=len(data))


def write_all(handle: int, data: bytes) -> None:
    """Write all bytes to a file descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


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
