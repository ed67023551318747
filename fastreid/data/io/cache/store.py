"""Pages decoded and reduced once, for every epoch, process and run after.

One SQLite file a choice of settings, so that adding to it is safe against kills and other runs, and looking a page up
takes tens of microseconds in any number of processes, which share what the system has read:

    files   path, its size and times of change, the sha256 of what it held, and a mark over all of these
    pages   sha256 of a file -> height, width, and zstd of that sha256 and the grey levels, with zstd's checksum
    faults  path of a file that is no sound image, its size and times of change, what is wrong, and a mark as above

So equal files share a page, a file that was only touched or moved with the folder is not decoded again, nor is a bad
one until it changes, and a damaged entry is found out when it is read.
"""

import functools
import hashlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL

from fastreid.data.io.cache.entries import Bad, Made, State, decoded, holds, mark, state_of, unpacked
from fastreid.data.io.cache.tables import FAULTS, FILES, PAGE, is_damaged, is_held, is_ours, knows_faults, open_to_write
from fastreid.data.io.image import MAX_PIXELS, read_drawing
from fastreid.data.io.messages import one_line
from fastreid.structures import Drawing
from fastreid.utils.cli import UserFacingError
from fastreid.utils.errors import StorageError
from fastreid.utils.locks import alone
from fastreid.utils.logger import get_logger

FORMAT = 1  # of the tables and of what stands in them
DECODER = 1  # grows whenever `read_image` gives other pixels for the same file, or takes one that it refused

_COMMIT_S = 2.0  # what a kill may lose


@dataclass(frozen=True)
class Filled:
    """What filling came to.

    Args:
        num_made, num_kept: pages that were decoded, and drawings whose page was there.
        faults: path to why its drawing cannot be read, in one line with the list's line.
    """

    num_made: int
    num_kept: int
    faults: Mapping[str, str]


class PageCache:
    """Pages of one choice of settings, in `folder/pages-<longest side>-<digest of settings>.sqlite`.

    Other settings, another Pillow or other rules of decoding are another file. A page is what `read_drawing` gives for
    its file, bit for bit. What the cache does not hold is read from its file.

    Args:
        folder: made if it is missing.
        longest_px: as for `read_image`; 0 keeps pages whole.
        max_pixels: a larger page is refused.
    """

    def __init__(self, folder: Path, *, longest_px: int, max_pixels: int = MAX_PIXELS):
        self.settings = {"format": FORMAT, "decoder": DECODER, "pillow": PIL.__version__}
        self.settings |= {"longest_px": longest_px, "max_pixels": max_pixels}
        digest = hashlib.blake2b(repr(self.settings).encode(), digest_size=4).hexdigest()
        self.path = folder / f"pages-{longest_px or 'whole'}-{digest}.sqlite"
        self.longest_px, self.max_pixels = longest_px, max_pixels
        self._root = f"{os.path.abspath(folder.parent)}{os.sep}"
        # A connection belongs to one process and thread; one that was inherited by a fork is neither used nor closed.
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}
        self._told: set[str] = set()
        self._unpacked = functools.partial(unpacked, max_pixels=max_pixels)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_connections": {}}

    def read(self, drawing: Drawing) -> np.ndarray:
        """The page of a drawing, uint8 (H, W), as `read_drawing` gives it.

        An entry that is damaged, or that another run holds for a minute, is told and read from its file.
        """
        entry = None
        try:
            if self._connections or self.path.exists():  # else nothing was ever filled
                entry = self._connection().execute(PAGE, (self._key(drawing.path),)).fetchone()
        except sqlite3.Error as error:
            if not is_held(error):
                raise self._fault(error)
            self._tell(f"{self.path}: another run holds it, so files are read ({error})")
        if entry is not None:
            page = self._unpacked(entry[4], *entry[6:]) if holds(entry[:6]) else None
            if page is not None:
                return page
            self._tell(
                f"{self.path}: the page of {drawing.name} is damaged, so its file is read; tools/prepare.py --mend"
            )
        return read_drawing(drawing, max_pixels=self.max_pixels, longest_px=self.longest_px)

    def fill(
        self,
        drawings: Sequence[Drawing],
        *,
        num_workers: int = 0,
        on_page: Callable[[int, int], None] | None = None,
    ) -> Filled:
        """Make the pages that are missing or whose files changed; one run does while others wait.

        A kill loses the last seconds' pages and nothing else, and Ctrl-C not even these.

        Args:
            drawings: of any lists.
            num_workers: processes that decode; 0 decodes in this one.
            on_page: called after each file with how many are done and how many there are to do.

        Returns:
            What it came to, with the drawings that cannot be read: judge them, as `sort_out` does.

        Raises:
            StorageError: the folder cannot be written, the disk is full, or the cache is damaged.
            EnvironmentSetupError: a decoding process died.
            UserFacingError: Ctrl-C.
        """
        sources = {drawing.path: drawing for drawing in drawings}
        stale, faults = self._compared(sources)
        if not stale:  # nothing to write, so a folder that cannot be written is enough
            return Filled(0, len(sources) - len(faults), _told(faults, sources))
        with alone(self.path.with_suffix(".lock"), doing="reads drawings", setting="DATASETS.CACHE.FOLDER"):
            try:
                connection = open_to_write(self.path)
                try:
                    stale, faults = self._compared(sources)  # less than before, where another run was at it
                    found = self._make(connection, stale, num_workers=num_workers, on_page=on_page)
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise self._fault(error)
        num_made, num_kept = len(stale) - len(found), len(sources) - len(stale) - len(faults)
        return Filled(num_made, num_kept, _told(faults | found, sources))

    def mend(self) -> int:
        """Forget the files that are gone, whose pages are damaged or that could not be read; gives how many.

        A later `fill` reads them anew.

        Raises:
            StorageError: the folder cannot be written, or the cache is damaged as a whole.
        """
        if not self.path.exists():
            return 0
        with alone(self.path.with_suffix(".lock"), doing="reads drawings", setting="DATASETS.CACHE.FOLDER"):
            try:
                connection = open_to_write(self.path)
                try:
                    return self._mend(connection)
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise self._fault(error)

    def size(self) -> tuple[int, int]:
        """How many pages there are, and how many bytes the file has."""
        if not self.path.exists():
            return 0, 0
        try:
            [num] = self._connection().execute("SELECT count(*) FROM pages").fetchone()
        except sqlite3.Error as error:
            raise self._fault(error)
        return num, self.path.stat().st_size

    def close(self) -> None:
        """Close what this process and thread has open."""
        connection = self._connections.pop((os.getpid(), threading.get_ident()), None)
        if connection is not None:
            connection.close()

    def _make(
        self,
        connection: sqlite3.Connection,
        stale: dict[str, bytes | None],
        *,
        num_workers: int,
        on_page: Callable[[int, int], None] | None,
    ) -> dict[str, str]:
        """Write what the stale files hold; gives the faults by path."""
        faults: dict[str, str] = {}
        waiting: list[Made | Bad] = []  # written together: whoever reads waits while a transaction grows beyond memory
        saved, done = time.monotonic(), 0
        try:
            for done, made in enumerate(decoded(stale, num_workers, self.longest_px, self.max_pixels), start=1):
                waiting.append(made)
                if isinstance(made, Bad):
                    faults[made.path] = made.fault
                if time.monotonic() > saved + _COMMIT_S or done == len(stale):
                    self._write(connection, waiting)
                    waiting, saved = [], time.monotonic()
                if on_page is not None:
                    on_page(done, len(stale))
        except KeyboardInterrupt:
            self._write(connection, waiting)  # again, if it came between writing and forgetting, which changes nothing
            told = f"stopped by the keyboard; {self.path} keeps what was read of {done} of {len(stale)} files"
            raise UserFacingError(told, 128 + signal.SIGINT)
        return faults

    def _write(self, connection: sqlite3.Connection, entries: Sequence[Made | Bad]) -> None:
        made = [entry for entry in entries if isinstance(entry, Made)]
        bad = [entry for entry in entries if isinstance(entry, Bad) and entry.state is not None]
        pages = [(entry.digest, *entry.page) for entry in made if entry.page is not None]
        good_rows = [(self._key(entry.path), *entry.state, entry.digest) for entry in made]
        bad_rows = [
            (self._key(entry.path), *(entry.state or ()), entry.fault.encode(errors="replace")) for entry in bad
        ]
        with connection:  # a transaction
            connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", pages)
            for table, rows, other in (("files", good_rows, "faults"), ("faults", bad_rows, "files")):
                marked = [(*row, mark(row)) for row in rows]
                connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?)", marked)
                connection.executemany(f"DELETE FROM {other} WHERE path = ?", [row[:1] for row in rows])

    def _compared(self, sources: dict[str, Drawing]) -> tuple[dict[str, bytes | None], dict[str, str]]:
        """The paths to be read, with the sha256 of a page that is there, and those that are known to be bad, with why.

        To be read is what was not yet, or in another state of the file.
        """
        pages, faults = self._known(FILES), self._known(FAULTS)
        stale: dict[str, bytes | None] = {}
        bad: dict[str, str] = {}
        for path in sources:
            key, state = self._key(path), state_of(path)
            page, fault = pages.get(key), faults.get(key)
            if fault is not None and fault[0] == state:
                bad[path] = fault[1].decode()
            elif page is None or page[0] != state:
                stale[path] = None if page is None else page[1]
        return stale, bad

    def _known(self, rows: str) -> dict[bytes, tuple[State, bytes]]:
        """By a file's key its state and what is known of it, from FILES or FAULTS."""
        if not self.path.exists():
            return {}
        try:
            connection = self._connection()
            if not is_ours(connection) or (rows == FAULTS and not knows_faults(connection)):
                return {}
            return {row[0]: (row[1:4], row[4]) for row in connection.execute(rows) if holds(row)}
        except sqlite3.Error as error:
            raise self._fault(error)

    def _mend(self, connection: sqlite3.Connection) -> int:
        whole = set()
        for digest, height, width, page in connection.execute("SELECT digest, height, width, page FROM pages"):
            if self._unpacked(digest, height, width, page) is not None:
                whole.add(digest)
        files = connection.execute("SELECT * FROM files").fetchall()
        lost = [
            (row[0],)
            for row in files
            if not (holds(row) and row[4] in whole and state_of(self._path(row[0])) is not None)
        ]
        [num_bad] = connection.execute("SELECT count(*) FROM faults").fetchone()
        connection.execute("DELETE FROM faults")
        connection.executemany("DELETE FROM files WHERE path = ?", lost)
        connection.execute("DELETE FROM pages WHERE digest NOT IN (SELECT digest FROM files)")
        connection.commit()
        connection.execute("VACUUM")
        return len(lost) + num_bad

    def _connection(self) -> sqlite3.Connection:
        """This process's and thread's connection to read by."""
        place = os.getpid(), threading.get_ident()
        if place not in self._connections:
            # Whoever may write also rolls back what a killed writer had begun.
            mode = "rw" if os.access(self.path.parent, os.W_OK) else "ro"
            address = f"{self.path.absolute().as_uri()}?mode={mode}"
            self._connections[place] = sqlite3.connect(address, uri=True, timeout=60)
        return self._connections[place]

    def _key(self, path: str) -> bytes:
        """A path as the file has it: from the folder the cache lies in, so that both may move together."""
        whole = os.path.abspath(path)
        return os.fsencode(whole.removeprefix(self._root))

    def _path(self, key: bytes) -> str:
        return os.path.join(self._root, os.fsdecode(key))

    def _fault(self, error: sqlite3.Error) -> StorageError:
        if is_damaged(error):
            return StorageError(f"{self.path}: damaged ({error}); remove it, and its pages are made anew")
        mend = "wait for the other run" if is_held(error) else "free space, or choose another DATASETS.CACHE.FOLDER"
        return StorageError(f"{self.path}: {error}; {mend}")

    def _tell(self, words: str) -> None:
        if words not in self._told:  # once an epoch would be noise
            self._told.add(words)
            get_logger().warning(words)


def _told(faults: Mapping[str, str], sources: Mapping[str, Drawing]) -> dict[str, str]:
    """The faults as `read_drawing` tells them."""
    names = {path: f"{one.source}: {one_line(path)}" for path, one in sources.items() if path in faults}
    return {path: f"{name}: {faults[path]}".removeprefix(": ") for path, name in names.items()}
