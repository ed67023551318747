"""Files that can be told from damaged ones: their sha256 lies beside them and is compared when they are read.

Beside `model_best.pth` lies `model_best.pth.sha256`, a line that `sha256sum -c` reads too. A file without one is taken
as it is.
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


def checksum_path(path: str | os.PathLike) -> Path:
    """Where the sha256 of a file lies."""
    return Path(f"{path}{SUFFIX}")


@contextlib.contextmanager
def write_with_checksum(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """As `atomic_write`, for a file that is written once from front to back; its sha256 is left beside it.

    Two files cannot change their names together. So while an old file gives way to a new one, the sha256 of both are
    allowed: a kill at any moment leaves a file that its manifest knows.

    Raises:
        StorageError: one of the two cannot be written; the previous file and a sha256 that allows it stay.
    """
    path = Path(path)
    with atomic_write(path) as file:
        hashed = _HashingWriter(file)
        yield cast(IO[bytes], hashed)  # all that is asked of it is to be written to
        digest, old = hashed.digest.hexdigest(), _current_digests(path)
        _write_digests(path, [digest, *old])
    if old:
        _write_digests(path, [digest])


def move_with_checksum(path: str | os.PathLike, to: str | os.PathLike) -> None:
    """Give a file and its sha256 another name, whose file is replaced; as exact about kills as `write_with_checksum`."""
    moved = _current_digests(Path(path))
    _write_digests(Path(to), [*moved, *_current_digests(Path(to))])
    os.replace(path, to)
    _write_digests(Path(to), moved)
    checksum_path(path).unlink(missing_ok=True)


def verify_checksum(path: str | os.PathLike) -> None:
    """Compare a file with the sha256 beside it; one without is not looked at.

    Raises:
        WeightsError: the file, or what lies beside it, is not what was written.
    """
    manifest = checksum_path(path)
    if not manifest.is_file():
        return
    found = compute_sha256(path)
    if found not in _read_digests(manifest):
        raise WeightsError(
            f"{path}: damaged or changed, its sha256 {found[:12]} is not that of {manifest.name}; take another, or remove "
            f"{manifest.name} if the file was changed on purpose"
        )


class _HashingWriter:
    """A file that is written to, and the digest of what was."""

    def __init__(self, file: IO[Any]):
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def _current_digests(path: Path) -> list[str]:
    """The digests that a file which is there may have; none where there is no file."""
    if not path.is_file():
        return []
    return _read_digests(checksum_path(path)) if checksum_path(path).is_file() else [compute_sha256(path)]


def _write_digests(path: Path, digests: Sequence[str]) -> None:
    write_text(checksum_path(path), "".join(f"{digest}  {path.name}\n" for digest in digests))


def _read_digests(manifest: Path) -> list[str]:
    return re.findall(r"^[0-9a-f]{64}\b", manifest.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
