"""Files with a sha256 checksum next to them, which is verified when they are read.

The checksum of `model_best.pth` is in `model_best.pth.sha256`, in the format of `sha256sum`. A file without a checksum
is accepted unverified.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from fastreid.utils.errors import WeightsError
from fastreid.utils.files import atomic_write, compute_sha256, write_text

SUFFIX = ".sha256"


def checksum_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of the checksum file of a file."""
    return Path(f"{path}{SUFFIX}")


@contextlib.contextmanager
def write_with_checksum(path: str | os.PathLike[str], *, make_folder: bool = True) -> Iterator[IO[bytes]]:
    """Open a file like `atomic_write`, for sequential writing, and write its checksum next to it.

    Two files cannot be replaced atomically together. Therefore the checksum file lists the digests of the old and the
    new file while one replaces the other, so a kill at any moment leaves a file that matches it.

    Args:
        path: the file.
        make_folder: create missing folders.

    Raises:
        StorageError: one of the two files cannot be written; the previous file and its checksum are kept.
    """
    path = Path(path)
    with atomic_write(path, make_folder=make_folder) as file:
        writer = _HashingWriter(file)
        yield cast(IO[bytes], writer)  # callers only write to it
        digest, previous = writer.digest.hexdigest(), _current_digests(path)
        _write_digests(path, [digest, *previous])
    if previous:
        _write_digests(path, [digest])


def move_with_checksum(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rename a file and its checksum, replacing the target; a kill at any moment leaves valid checksums."""
    digests = _current_digests(Path(source))
    _write_digests(Path(target), [*digests, *_current_digests(Path(target))])
    os.replace(source, target)
    _write_digests(Path(target), digests)
    checksum_path(source).unlink(missing_ok=True)


def verify_checksum(path: str | os.PathLike[str]) -> None:
    """Compare a file with the checksum next to it; a file without one is accepted.

    Raises:
        WeightsError: the file or its checksum is damaged or changed.
    """
    manifest = checksum_path(path)
    if not manifest.is_file():
        return
    digest = compute_sha256(path)
    if digest not in _read_digests(manifest):
        raise WeightsError(
            f"{path}: damaged or changed, its sha256 {digest[:12]} is not that of {manifest.name}; use another file, "
            f"or delete {manifest.name} if the file was changed on purpose"
        )


def find_checksum_problem(path: str | os.PathLike[str]) -> str:
    """Return why the checksum of a file that this package has written is suspect; "" if it is a regular file."""
    manifest = checksum_path(path)
    if not os.path.lexists(manifest):
        return f"{manifest} is missing"
    return "" if manifest.is_file() and not manifest.is_symlink() else f"{manifest} is not a regular file"


class _HashingWriter:
    """A writable file that also computes the sha256 of the written bytes."""

    def __init__(self, file: IO[Any]):
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _current_digests(path: Path) -> list[str]:
    """Return the digests that an existing file may have; empty if the file does not exist."""
    if not path.is_file():
        return []
    return _read_digests(checksum_path(path)) if checksum_path(path).is_file() else [compute_sha256(path)]


def _write_digests(path: Path, digests: Sequence[str]) -> None:
    # Next to a file that exists: if its folder was deleted or renamed meanwhile, it must not appear again.
    text = "".join(f"{digest}  {path.name}\n" for digest in digests)
    write_text(checksum_path(path), text, make_folder=False)


def _read_digests(manifest: Path) -> list[str]:
    return re.findall(r"^[0-9a-f]{64}\b", manifest.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
