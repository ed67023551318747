"""Pages decoded and reduced once, for every epoch, process and run after.

One SQLite file a choice of settings, so that adding to it is safe against kills and other runs, and looking a page up
takes tens of microseconds in any number of processes, which share what the system has read:

    files   path, its size and times of change, the sha256 of what it held, and a mark over all of these
    pages   sha256 of a file -> height, width, and zstd of that sha256 and the grey levels, with zstd's checksum

So equal files share a page, a file that was only touched or moved with the folder is not decoded again, and a damaged
entry is found out when it is read.
"""

import hashlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import PIL

from fastreid.data.datasets.base import refuse
from fastreid.data.image import MAX_PIXELS, read_drawing
from fastreid.data.pages.entries import Made, State, holds, make_all, mark, state_of, unpacked
from fastreid.data.pages.tables import FILES, PAGE, is_damaged, is_held, is_ours, open_to_write
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentFault, StorageError
from fastreid.utils.locks import alone
from fastreid.utils.logger import get_logger
from fastreid.utils.processes import clean_pool

FORMAT = 1  # of the tables and of what stands in them
DECODER = 1  # grows whenever `read_image` gives other pixels for the same file

_TASK = 16  # files a process is given at a time
_COMMIT_S = 2.0  # what a kill may lose


@dataclass(frozen=True)
class Filled:
    """What filling came to.

    Args:
        num_made, num_kept: pages that were decoded, and drawings whose page was there.
        num_bad: drawings that cannot be read.
    """

    num_made: int
    num_kept: int
    num_bad: int


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
            page = unpacked(entry[4], *entry[6:]) if holds(entry[:6]) else None
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
        training: Sequence[Drawing] = (),
        max_bad: int = 0,
    ) -> Filled:
        """Make the pages that are missing or whose files changed; one run does while others wait.

        A kill loses the last seconds' pages and nothing else.

        Args:
            drawings: of any lists; all must be read.
            num_workers: processes that decode; 0 decodes in this one.
            on_page: called after each file with how many are done and how many there are to do.
            training, max_bad: further drawings, and how many of them may be bad; those are left out.

        Raises:
            InputError: more images that cannot be read; all are told, the first 20 by name, after the others are kept.
            StorageError: the folder cannot be written, the disk is full, or the cache is damaged.
            EnvironmentFault: a decoding process died.
        """
        needed = {drawing.path for drawing in drawings}
        sources = {drawing.path: drawing for drawing in (*drawings, *training)}
        if not self._stale(sources):  # nothing to write, so a folder that cannot be written is enough
            return Filled(0, len(sources), 0)
        with alone(self.path.with_suffix(".lock"), doing="reads drawings", setting="DATASETS.CACHE.FOLDER"):
            try:
                connection = open_to_write(self.path)
                try:
                    stale = self._stale(sources)  # less than before, where another run was at it
                    faults = self._make(connection, stale, num_workers=num_workers, on_page=on_page)
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise self._fault(error)
        if len(faults) > max_bad or needed & faults.keys():
            told = (f"{sources[path].source}: {fault}".removeprefix(": ") for path, fault in faults.items())
            refuse(list(told), "the drawings")
        return Filled(len(stale) - len(faults), len(sources) - len(stale), len(faults))

    def mend(self) -> int:
        """Forget the files that are gone or whose pages are damaged; gives how many. A later `fill` makes them anew.

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
        waiting: list[Made] = []  # written together: whoever reads waits while a transaction grows beyond memory
        saved = time.monotonic()
        for done, (path, made) in enumerate(self._decoded(stale, num_workers), start=1):
            if isinstance(made, str):
                faults[path] = made
            else:
                waiting.append(made)
            if time.monotonic() > saved + _COMMIT_S or done == len(stale):
                self._write(connection, waiting)
                waiting, saved = [], time.monotonic()
            if on_page is not None:
                on_page(done, len(stale))
        return faults

    def _write(self, connection: sqlite3.Connection, entries: Sequence[Made]) -> None:
        pages = [(made.digest, *made.page) for made in entries if made.page is not None]
        rows = [(self._key(made.path), *made.state, made.digest) for made in entries]
        with connection:  # a transaction
            connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", pages)
            connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", [(*row, mark(row)) for row in rows]
            )

    def _decoded(self, stale: dict[str, bytes | None], num_workers: int) -> Iterator[tuple[str, Made | str]]:
        """Each stale file with what it holds or why that cannot be told, in order."""
        items = iter(stale.items())
        tasks = iter(lambda: list(islice(items, _TASK)), [])
        if num_workers == 0:
            for task in tasks:
                yield from make_all(task, self.longest_px, self.max_pixels)
            return
        with clean_pool(num_workers, preload=__name__) as pool:
            # Few at a time: what is done waits here until it is written.
            given = (pool.submit(make_all, task, self.longest_px, self.max_pixels) for task in tasks)
            running = deque(islice(given, 4 * num_workers))
            try:
                while running:
                    yield from running.popleft().result()
                    running.extend(islice(given, 1))
            except BrokenProcessPool:
                raise EnvironmentFault(
                    "a decoding process died; free memory, or lower DATALOADER.NUM_WORKERS; a script of your own does its "
                    'work under `if __name__ == "__main__":`'
                )
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _stale(self, sources: dict[str, Drawing]) -> dict[str, bytes | None]:
        """The paths whose page is missing or of another state of the file, with the sha256 of a page that is there."""
        known: dict[bytes, tuple[State, bytes]] = {}
        if self.path.exists():
            try:
                if is_ours(self._connection()):
                    rows = self._connection().execute(FILES)
                    known = {row[0]: (row[1:4], row[4]) for row in rows if holds(row)}
            except sqlite3.Error as error:
                raise self._fault(error)
        stale: dict[str, bytes | None] = {}
        for path in sources:
            entry = known.get(self._key(path))
            if entry is None or entry[0] != state_of(path):
                stale[path] = None if entry is None else entry[1]
        return stale

    def _mend(self, connection: sqlite3.Connection) -> int:
        whole = set()
        for digest, height, width, page in connection.execute("SELECT digest, height, width, page FROM pages"):
            if unpacked(digest, height, width, page) is not None:
                whole.add(digest)
        files = connection.execute("SELECT * FROM files").fetchall()
        lost = [
            (row[0],)
            for row in files
            if not (holds(row) and row[4] in whole and state_of(self._path(row[0])) is not None)
        ]
        connection.executemany("DELETE FROM files WHERE path = ?", lost)
        connection.execute("DELETE FROM pages WHERE digest NOT IN (SELECT digest FROM files)")
        connection.commit()
        connection.execute("VACUUM")
        return len(lost)

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
