"""Record in OUTPUT_DIR of the training files that a run could not read, which may be repaired before a resume."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

from fastreid.engine.data_fingerprint import DataFingerprint, FileKey
from fastreid.utils.errors import FastreidError
from fastreid.utils.files import append_line

RECORD_FILE = "unreadable_drawings"

_LINE = re.compile(r"(-?\d+) (\d+) (-?\d+) \.", re.ASCII)


class UnreadableRecord:
    """Appends a line for each unreadable training file: hash of its name, size, modification time and a period.

    A line describes one content of a file, so it stays true in later runs and when several processes write it.

    Args:
        folder: OUTPUT_DIR.
        fingerprint: of the data of the run; None: unknown, so nothing is recorded.
    """

    def __init__(self, folder: str | Path, fingerprint: DataFingerprint | None):
        self.path = Path(folder) / RECORD_FILE
        self.fingerprint = fingerprint
        self._known: set[FileKey] = set(fingerprint.unreadable) if fingerprint is not None else set()

    def add(self, rows: Iterable[int]) -> None:
        """Record rows of the training list; a record that cannot be written is no error, and a repair then is one."""
        if self.fingerprint is None:
            return
        for key in {self.fingerprint.file_key(row) for row in rows} - self._known:
            with contextlib.suppress(FastreidError):
                append_line(self.path, " ".join(map(str, key)) + " .")
                self._known.add(key)


def read_record(folder: str | Path) -> frozenset[FileKey]:
    """Return the unreadable files that earlier runs in OUTPUT_DIR have recorded; torn lines are ignored."""
    path = Path(folder) / RECORD_FILE
    text = path.read_text(encoding="ascii", errors="replace") if path.is_file() else ""
    matches = (_LINE.fullmatch(line) for line in text.splitlines())
    return frozenset((int(match[1]), int(match[2]), int(match[3])) for match in matches if match)
