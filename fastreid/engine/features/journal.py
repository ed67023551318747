"""Store batches of features as soon as they are computed, so that a stopped extraction can be resumed.

A record is one batch: its first row, its number of rows and width, the features, and a digest. The digest covers the
features, the settings, the weights, and the batch's drawings with the state of their files. Each process appends
records to its own file. A record is ignored if its digest differs: if a kill cut it off, or if weights, settings or
files changed. So when one image is repaired, only its batch is extracted again. Batch k always has the same rows, so
loaded and new batches together have the same bytes as in an uninterrupted run.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastreid.evaluation.storage.saved_features import list_fingerprint
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import StorageError
from fastreid.utils.files import write_all
from fastreid.utils.logger import get_logger

_SUFFIX = ".journal"
_HEADER = struct.Struct("<QII")  # first row, number of rows, floats per row
_DIGEST_BYTES = 16
_O_BINARY = getattr(os, "O_BINARY", 0)  # Windows only: write bytes 10 unchanged


class JournalFolder:
    """The journals of one run: one folder for all of its lists.

    Args:
        folder: created when the first batch is stored.
        settings_key: text that identifies everything that affects features, except the list.
    """

    def __init__(self, folder: Path, settings_key: str):
        self.folder, self.settings_key = folder, settings_key

    def open(self, drawings: Sequence[Drawing]) -> "FeatureJournal":
        """Return the journal of a list."""
        return FeatureJournal(self.folder, self.settings_key, drawings)

    def remove(self) -> None:
        """Delete all journals of the folder, once their features are saved elsewhere. Every process must call it."""
        comm.all_gather_object(None)  # wait until no process reads or writes
        if comm.is_main_process():
            for path in self.folder.glob(f"*{_SUFFIX}"):
                path.unlink()
            if self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()


class FeatureJournal:
    """The stored batches of one list.

    Args:
        folder: folder of its files.
        settings_key: text that identifies everything that affects features, except the list.
        drawings: the list.
    """

    def __init__(self, folder: Path, settings_key: str, drawings: Sequence[Drawing]):
        self.folder, self.settings_key = folder, settings_key
        list_key = json.dumps([settings_key, *(drawing.path for drawing in drawings)])
        self._name = hashlib.sha256(list_key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        # Read before the images: if a file is replaced later, its features belong to the earlier content.
        self._fingerprints = [list_fingerprint([drawing]) for drawing in drawings]
        self._file: int | None = None
        self._has_failed = False

    def read(self) -> dict[int, Tensor]:
        """Return first row -> features, float32 (B, D), of every valid stored batch."""
        batches: dict[int, Tensor] = {}
        for path in sorted(self.folder.glob(f"{self._name}-*{_SUFFIX}")):
            if path.is_file() and not path.is_symlink():
                batches.update(self._parse_records(path.read_bytes()))
        return batches

    def add(self, first_row: int, features: Tensor) -> None:
        """Store one batch, float32 (B, D).

        A write error, such as a full disk, is logged once, and no further batch is stored.
        """
        if self._has_failed:
            return
        header = _HEADER.pack(first_row, *features.shape)
        content = features.contiguous().numpy().astype("<f4", copy=False).tobytes()
        try:
            if self._file is None:
                self._file = self._create_file()
            write_all(self._file, header + content + self._digest(first_row, header, content))
        except OSError as error:
            self._has_failed = True
            get_logger().warning(
                f"{self.folder}: batches of features cannot be stored ({error.strerror}); "
                "if stopped, this extraction will start again"
            )

    def close(self) -> None:
        """Flush all batches to the disk."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def _create_file(self) -> int:
        """Create a new file, since the file of a stopped run can end within a record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(1 << 20):
            try:
                path = self.folder / f"{self._name}-{number:06}{_SUFFIX}"
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY, 0o666)
            except FileExistsError:
                continue
        raise StorageError(f"{self.folder}: contains a million journals; remove them")

    def _parse_records(self, data: bytes) -> Iterator[tuple[int, Tensor]]:
        offset = 0
        while offset + _HEADER.size <= len(data):
            header = data[offset : offset + _HEADER.size]
            first_row, num_rows, width = _HEADER.unpack(header)
            end = offset + _HEADER.size + 4 * num_rows * width
            content, digest = data[offset + _HEADER.size : end], data[end : end + _DIGEST_BYTES]
            if first_row + num_rows <= len(self._fingerprints) and digest == self._digest(first_row, header, content):
                yield first_row, torch.frombuffer(bytearray(content), dtype=torch.float32).view(num_rows, width)
            offset = end + _DIGEST_BYTES

    def _digest(self, first_row: int, header: bytes, content: bytes) -> bytes:
        _, num_rows, _ = _HEADER.unpack(header)
        files = self._fingerprints[first_row : first_row + num_rows]
        key = hashlib.sha256(json.dumps([self.settings_key, *files]).encode()).digest()
        return hashlib.blake2b(header + content, key=key, digest_size=_DIGEST_BYTES).digest()
