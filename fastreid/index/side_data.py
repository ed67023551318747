"""Thumbnails of the drawings of a collection, and marks of drawings and hits, in an SQLite file.

They are not columns of the table, because a table of vectors is rewritten when its files are merged. A thumbnail is
stored before its row, so a kill between the two leaves a thumbnail without a row, which `compact` removes.
"""

import contextlib
import io
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from fastreid.index.side_storage import Mark
from fastreid.utils.errors import StorageError

FILE_NAME = "thumbnails.sqlite"
THUMBNAIL_PX = 192  # longest side
_DARKENING = 2  # factor on the darkness of a gray thumbnail: lines thinner than its pixels would be nearly invisible
_LEVELS = 16  # gray levels of a thumbnail: half the bytes of 256, without a visible difference in line drawings
_IDS_PER_STATEMENT = 500
_SCHEMA = {
    "thumbnails": "CREATE TABLE IF NOT EXISTS thumbnails (id TEXT PRIMARY KEY, image BLOB NOT NULL) WITHOUT ROWID",
    **{mark: f"CREATE TABLE IF NOT EXISTS {mark} (id TEXT PRIMARY KEY) WITHOUT ROWID" for mark in get_args(Mark)},
}


def encode_thumbnail(page: np.ndarray[Any, Any]) -> bytes:
    """Return a page, uint8 (H, W) or (H, W, 3), as a small PNG (gray) or JPEG (color)."""
    image = Image.fromarray(page)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR, reducing_gap=2)
    file = io.BytesIO()
    if image.mode == "RGB":
        image.save(file, "JPEG", quality=80)
    else:
        step = 255 // (_LEVELS - 1)
        levels = [max(0, 255 - _DARKENING * (255 - level)) for level in range(256)]
        image.point([round(level / step) * step for level in levels]).save(file, "PNG", compress_level=6)
    return file.getvalue()


class SideData:
    """The SQLite file of a collection.

    Args:
        folder: of the collection.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE_NAME

    def write_thumbnails(self, thumbnails: Mapping[str, bytes]) -> None:
        """Store thumbnails by id, all or none."""
        with self._open("thumbnails") as database:
            database.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", thumbnails.items())

    def read_thumbnail(self, name: str) -> bytes | None:
        """Return the thumbnail of an id, or None."""
        with self._open("thumbnails") as database:
            row = database.execute("SELECT image FROM thumbnails WHERE id = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def list_thumbnails(self) -> set[str]:
        """Return the ids that have a thumbnail."""
        with self._open("thumbnails") as database:
            return {name for (name,) in database.execute("SELECT id FROM thumbnails")}

    def delete_thumbnails(self, names: Iterable[str]) -> None:
        """Delete the thumbnails of some ids."""
        with self._open("thumbnails") as database:
            database.executemany("DELETE FROM thumbnails WHERE id = ?", ((name,) for name in names))

    def mark(self, mark: Mark, names: Iterable[str]) -> None:
        """Give a mark to some ids."""
        with self._open(mark) as database:
            database.executemany(f"INSERT OR IGNORE INTO {mark} VALUES (?)", ((name,) for name in names))

    def unmark(self, mark: Mark, names: Iterable[str]) -> None:
        """Take a mark from some ids."""
        with self._open(mark) as database:
            database.executemany(f"DELETE FROM {mark} WHERE id = ?", ((name,) for name in names))

    def list_marked(self, mark: Mark) -> set[str]:
        """Return the ids that have a mark."""
        with self._open(mark) as database:
            return {name for (name,) in database.execute(f"SELECT id FROM {mark}")}

    def vacuum(self) -> None:
        """Return the space of deleted thumbnails to the disk."""
        with self._connect("thumbnails") as database:
            database.execute("VACUUM")

    @contextlib.contextmanager
    def _open(self, table: str) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        with self._connect(table) as database:
            database.execute("BEGIN")
            yield database
            database.execute("COMMIT")

    @contextlib.contextmanager
    def _connect(self, table: str) -> Iterator[sqlite3.Connection]:
        """Open the file, with one table: a search of a collection that may not be written adds no other ones."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as database:
                database.execute(_SCHEMA[table])
                yield database
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}; free space, or restore the file")


class PageResults:
    """Thumbnails and faults of pages, which worker processes write and the main process collects.

    Each process writes its own SQLite file; nothing is synced, as a killed run starts the batch again.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._database: sqlite3.Connection | None = None
        self._pid = 0

    def add(self, name: str, *, thumbnail: bytes | None = None, fault: str | None = None) -> None:
        """Store the thumbnail of a page or the reason why it cannot be read."""
        if self._database is None or self._pid != os.getpid():  # a connection of the parent process is not used
            self._pid = os.getpid()
            self._database = sqlite3.connect(self.folder / f"{self._pid}.sqlite", isolation_level=None)
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("PRAGMA journal_mode = OFF")
            self._database.execute("CREATE TABLE pages (id TEXT PRIMARY KEY, image BLOB, fault TEXT)")
        self._database.execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?)", (name, thumbnail, fault))

    def collect(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return the thumbnails and the faults by id, of all processes."""
        self.close()
        thumbnails: dict[str, bytes] = {}
        faults: dict[str, str] = {}
        for path in sorted(self.folder.glob("*.sqlite")):
            with contextlib.closing(sqlite3.connect(path)) as database:
                for name, image, fault in database.execute("SELECT id, image, fault FROM pages"):
                    if fault is None:
                        thumbnails[name] = bytes(image)
                    else:
                        faults[name] = fault
        return thumbnails, faults

    def close(self) -> None:
        """Close the file of this process."""
        if self._database is not None and self._pid == os.getpid():
            self._database.close()
        self._database = None

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_database": None, "_pid": 0}
