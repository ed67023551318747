"""Batches of features kept as they are made, so that an extraction that was stopped goes on where it was.

A record is one batch: its first row, its rows and width, the features, and a digest over these, what features are made
from, and the batch's drawings with the state of their files. Records are only appended, each process to a file of its
own. One that a kill cut off has another digest and does not count, nor does one of other weights, settings or files: when
a bad image is mended, its batch alone is made anew. Since batch k is always the same rows, what is read here and what is
made are the same bytes together as in a run that was never stopped.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastreid.evaluation.storage.saved_features import stamp_of
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import StorageError
from fastreid.utils.logger import get_logger

_ENDING = ".journal"
_HEADER = struct.Struct("<QII")  # first row, rows, floats a row
_DIGEST_BYTES = 16


class Journals:
    """The journals of one run, a folder for all of its lists.

    Args:
        folder: made when the first batch is kept.
        origin: a word for all that shapes features but the list.
    """

    def __init__(self, folder: Path, origin: str):
        self.folder, self.origin = folder, origin

    def of(self, drawings: Sequence[Drawing]) -> "Journal":
        """The journal of a list."""
        return Journal(self.folder, self.origin, drawings)

    def remove(self) -> None:
        """Forget all journals of the folder: what they held is written elsewhere now. Every process must call it."""
        comm.gather(None)  # no process reads or writes any more
        if comm.is_main():
            for path in self.folder.glob(f"*{_ENDING}"):
                path.unlink()
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()


class Journal:
    """The batches of one list.

    Args:
        folder: where its files lie.
        origin: a word for all that shapes features but the list.
        drawings: the list.
    """

    def __init__(self, folder: Path, origin: str, drawings: Sequence[Drawing]):
        self.folder, self.origin = folder, origin
        listed = json.dumps([origin, *(drawing.path for drawing in drawings)])
        self._name = hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        # Taken before a file is read: one that is replaced later is not what its features came from.
        self._stamps = [stamp_of([drawing]) for drawing in drawings]
        self._file: int | None = None
        self._is_lost = False

    def read(self) -> dict[int, Tensor]:
        """First row -> features, float32 (B, D), of the batches that are there and sound."""
        found: dict[int, Tensor] = {}
        for path in sorted(self.folder.glob(f"{self._name}-*{_ENDING}")):
            found.update(self._records(path.read_bytes()))
        return found

    def add(self, first_row: int, features: Tensor) -> None:
        """Keep one batch, float32 (B, D). A disk that takes no more is told once; the features are then made anew."""
        if self._is_lost:
            return
        header = _HEADER.pack(first_row, *features.shape)
        content = features.contiguous().numpy().astype("<f4", copy=False).tobytes()
        try:
            if self._file is None:
                self._file = self._open()
            _write_all(self._file, header + content + self._digest(first_row, header, content))
        except OSError as error:
            self._is_lost = True
            get_logger().warning(
                f"{self.folder}: features cannot be kept as they are made ({error.strerror}), so a stop loses them"
            )

    def close(self) -> None:
        """Put on the disk what was added."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        """A new file: what a stopped run left may end within a record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(1 << 20):
            try:
                path = self.folder / f"{self._name}-{number:06}{_ENDING}"
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                continue
        raise StorageError(f"{self.folder}: holds a million journals; remove them")

    def _records(self, data: bytes) -> Iterator[tuple[int, Tensor]]:
        at = 0
        while at + _HEADER.size <= len(data):
            header = data[at : at + _HEADER.size]
            first_row, num, width = _HEADER.unpack(header)
            end = at + _HEADER.size + 4 * num * width
            content, digest = data[at + _HEADER.size : end], data[end : end + _DIGEST_BYTES]
            if first_row + num <= len(self._stamps) and digest == self._digest(first_row, header, content):
                yield first_row, torch.frombuffer(bytearray(content), dtype=torch.float32).view(num, width)
            at = end + _DIGEST_BYTES

    def _digest(self, first_row: int, header: bytes, content: bytes) -> bytes:
        _, num, _ = _HEADER.unpack(header)
        files = self._stamps[first_row : first_row + num]
        key = hashlib.sha256(json.dumps([self.origin, *files]).encode()).digest()
        return hashlib.blake2b(header + content, key=key, digest_size=_DIGEST_BYTES).digest()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
