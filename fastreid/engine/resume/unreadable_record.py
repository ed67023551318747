"""Record in OUTPUT_DIR of the training files that a run could not read, which may be repaired before a resume."""

import re
from collections.abc import Iterable
from pathlib import Path

from fastreid.engine.resume.data_fingerprint import DataFingerprint, FileKey
from fastreid.utils.errors import FastreidError, StorageError
from fastreid.utils.files import append_line, open_own_file
from fastreid.utils.logger import get_logger
from fastreid.utils.resources import find_resource_error

RECORD_FILE = "unreadable_drawings"

_LINE = re.compile(r"(-?\d+) (\d+) (-?\d+) \.", re.ASCII)


class UnreadableRecord:
    """Appends a line for each unreadable training file: hash of its name, size, modification time and a period.

    A line describes one content of a file, so it stays true after a resume and when several processes write it. A new
    run deletes the file, because it may read files that the run before it could not, as with a larger INPUT.MAX_PIXELS.

    Args:
        folder: OUTPUT_DIR, after the record of an earlier run in it was deleted.
        fingerprint: of the data of the run; None: unknown, so nothing is recorded.

    Raises:
        StorageError: the record cannot be read.
        EnvironmentSetupError: too many files are open.
    """

    def __init__(self, folder: str | Path, fingerprint: DataFingerprint | None):
        self.path = Path(folder) / RECORD_FILE
        self.fingerprint = fingerprint
        self._known: set[FileKey] = set(read_record(folder)) if fingerprint is not None else set()
        self._has_failed = False

    def add(self, rows: Iterable[int]) -> None:
        """Record unreadable rows of the training list, except files that have changed since the start of the run.

        The run may have read the content that such a file had at the start. If the record cannot be written, a repaired
        file counts as a changed one; the first failure is logged.
        """
        if self.fingerprint is None:
            return
        for key in {self.fingerprint.file_key(row) for row in rows if self.fingerprint.is_current(row)} - self._known:
            try:
                append_line(self.path, " ".join(map(str, key)) + " .")
            except FastreidError as error:
                if not self._has_failed:
                    get_logger().warning(f"{error}. Without this record, --resume reports repaired files as changed")
                self._has_failed = True
            else:
                self._known.add(key)


def read_record(folder: str | Path) -> frozenset[FileKey]:
    """Return the unreadable files that the run in OUTPUT_DIR has recorded; torn lines are ignored.

    Raises:
        StorageError: the record cannot be read, or is not a regular file.
        EnvironmentSetupError: too many files are open.
    """
    path = Path(folder) / RECORD_FILE
    try:
        with open(path, encoding="ascii", errors="replace", opener=open_own_file) as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        resource_error = find_resource_error(error)
        if resource_error is not None:
            raise resource_error
        raise StorageError(f"{path}: cannot be read ({error.strerror or error}); check its permissions and the disk")
    matches = (_LINE.fullmatch(line) for line in text.splitlines())
    return frozenset((int(match[1]), int(match[2]), int(match[3])) for match in matches if match)
