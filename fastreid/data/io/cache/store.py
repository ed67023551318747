"""Page cache: pages that are decoded and reduced once, for all epochs, processes and later runs.

One SQLite file per choice of settings, so that adding pages is safe against kills and concurrent runs, and reading a
page takes tens of microseconds in any number of processes, which share the page cache of the operating system:

    files   path or page address, its size and times of change, the SHA-256 of its page, and a mark over all of these
    pages   SHA-256 of a file (and of the number of a later page) -> height, width, and zstd of that SHA-256 and the
            levels of one or three channels, with zstd's checksum
    faults  path of a file that is not a valid image, its size and times of change, the reason, and a mark as above

Equal files share a page. A file that was only touched, or moved together with the folder, is not decoded again, nor is
an unreadable one until it changes. Damage to an entry is detected when the entry is read.
"""

import contextlib
import functools
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL

import fastreid.data.io.cache.entries as codec
import fastreid.data.io.cache.tables as tables
from fastreid.data.io.cache.connections import Connections, explain_full_disk
from fastreid.data.io.cache.entries import CachedPage, FileState, UnreadableFile
from fastreid.data.io.image import MAX_PIXELS, Array, read_drawing
from fastreid.data.io.pdf import get_pdf_version
from fastreid.structures import Drawing
from fastreid.utils.cli import UserFacingError
from fastreid.utils.locks import exclusive_lock
from fastreid.utils.logger import get_logger
from fastreid.utils.termination import TerminatedError, describe_signal, get_stop_signal, raise_on_sigterm
from fastreid.utils.text import escape_unprintable

SCHEMA_VERSION = 1  # of the tables and their content
DECODER_VERSION = 4  # increase when `read_image` returns other pixels for a file, or accepts one that was invalid

_COMMIT_S = 2.0  # a kill loses the pages of at most this time


@dataclass(frozen=True)
class FillReport:
    """The result of filling the cache.

    Args:
        num_decoded: pages that were decoded.
        num_reused: drawings whose page was in the cache already.
        faults: path of each unreadable drawing -> the reason on one line, with the list's line.
    """

    num_decoded: int
    num_reused: int
    faults: Mapping[str, str]


class PageCache:
    """Pages of one choice of settings, in `folder/pages-<longest side>-<digest of settings>.sqlite`.

    Pages with color are in `pages-rgb-...`, so a file has pages of one kind.

    Other settings, another version of Pillow or pypdfium2, or other decoding rules use another file. A page equals the
    result of `read_drawing` bit for bit. Pages that are not in the cache are read from their files.

    Args:
        folder: created if missing.
        longest_px: as for `read_image`; 0 stores full-size pages.
        max_pixels: a page with more pixels is invalid.
        color: pages have three channels.
    """

    def __init__(self, folder: Path, *, longest_px: int, max_pixels: int = MAX_PIXELS, color: bool = False):
        self.settings = {"format": SCHEMA_VERSION, "decoder": DECODER_VERSION, "pillow": PIL.__version__}
        self.settings |= {"longest_px": longest_px, "max_pixels": max_pixels, "pdf": get_pdf_version()}
        self.settings |= {"color": True} if color else {}  # absent for gray, whose files keep their names
        digest = hashlib.blake2b(repr(self.settings).encode(), digest_size=4).hexdigest()
        self.path = folder / f"pages-{'rgb-' if color else ''}{longest_px or 'whole'}-{digest}.sqlite"
        self.longest_px, self.max_pixels, self.color = longest_px, max_pixels, color
        self._root = f"{os.path.abspath(folder.parent)}{os.sep}"
        self.connections = Connections(self.path)
        self._warned: set[str] = set()
        self._unpack = functools.partial(codec.unpack_page, max_pixels=max_pixels, color=color)

    def read(self, drawing: Drawing) -> Array:
        """Return the page of a drawing, as `read_drawing` does.

        If the entry is damaged, or another program locks the cache, log a warning and read the file. A run waits for
        the lock once, LOCK_WAIT_S; later pages are read from their files at once while the cache is locked.
        """
        entry = None
        try:
            if self.connections.open or self.path.exists():  # otherwise the cache is empty
                entry = self.connections.get().execute(tables.SELECT_PAGE, (self._key(drawing.path),)).fetchone()
        except sqlite3.Error as error:
            if not tables.is_locked(error):
                raise self.connections.explain(error)
            self.connections.stop_waiting()
        if entry is not None:
            page = self._unpack(entry[4], *entry[6:]) if codec.mark_is_valid(entry[:6]) else None
            if page is not None:
                return page
            self._warn_once(
                f"{self.path}: the page of {drawing.name} is damaged, reading its file instead; "
                "repair the cache: fastreid data cache --config-file FILE --repair"
            )
        return read_drawing(drawing, color=self.color, max_pixels=self.max_pixels, longest_px=self.longest_px)

    def fill(
        self,
        drawings: Sequence[Drawing],
        *,
        num_workers: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> FillReport:
        """Decode the pages that are missing or whose files changed; one run decodes while others wait.

        A kill loses the pages of the last seconds, Ctrl-C and SIGTERM none.

        Args:
            drawings: from any lists.
            num_workers: processes that decode; 0 decodes in this one.
            on_progress: called after each file with the number of files done and to do.

        Returns:
            Counts and the unreadable drawings; pass these to `check_unreadable`.

        Raises:
            StorageError: the folder is not writable, the disk is full, or the cache is damaged.
            CacheLockedError: another program has locked the cache.
            EnvironmentSetupError: a decoding process died, or too many files are open.
            UserFacingError: Ctrl-C or SIGTERM.
        """
        sources = {drawing.path: drawing for drawing in drawings}
        stale, faults = self._find_stale(sources)
        if not stale:  # nothing to write, so a read-only folder is enough
            return FillReport(0, len(sources) - len(faults), _add_sources(faults, sources))
        with self._writer() as connection, raise_on_sigterm():
            stale, faults = self._find_stale(sources)  # again: another run may have decoded some
            new_faults = self._decode(connection, stale, num_workers=num_workers, on_progress=on_progress)
        num_reused = len(sources) - len(stale) - len(faults)
        return FillReport(len(stale) - len(new_faults), num_reused, _add_sources(faults | new_faults, sources))

    def repair(self) -> int:
        """Remove entries of missing files, unreadable files and damaged pages, to be read again; return their number.

        Raises:
            StorageError: the folder is not writable, or the cache is damaged as a whole.
        """
        if not self.path.exists():
            return 0
        with self._writer() as connection:
            return self._repair(connection)

    def size(self) -> tuple[int, int]:
        """Return the number of pages and the size of the file in bytes; a killed run may leave a file without pages."""
        if not self.path.exists():
            return 0, 0
        try:
            connection = self.connections.get()
            [num] = connection.execute(
                "SELECT count(*) FROM pages" if tables.has_tables(connection) else "SELECT 0"
            ).fetchone()
        except sqlite3.Error as error:
            raise self.connections.explain(error)
        return num, self.path.stat().st_size

    def close(self) -> None:
        """Close the connection of this process and thread."""
        self.connections.close()

    @contextlib.contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
        """Connect for writing, with the lock held; SQLite's errors become a StorageError."""
        with exclusive_lock(
            self.path.with_suffix(".lock"), activity="filling the cache", config_key="DATASETS.CACHE.FOLDER"
        ):
            try:
                with contextlib.closing(tables.open_for_writing(self.path)) as connection:
                    yield connection
            except sqlite3.Error as error:
                raise self.connections.explain(error)

    def _decode(
        self,
        connection: sqlite3.Connection,
        stale: dict[str, bytes | None],
        *,
        num_workers: int,
        on_progress: Callable[[int, int], None] | None,
    ) -> dict[str, str]:
        """Decode the stale files and store the results; return the faults by path."""
        faults: dict[str, str] = {}
        # Written together: readers wait while a transaction outgrows SQLite's memory.
        pending: list[CachedPage | UnreadableFile] = []
        saved, done = time.monotonic(), 0
        try:
            for done, entry in enumerate(
                codec.decode_files(stale, num_workers, self.longest_px, self.max_pixels, color=self.color), start=1
            ):
                pending.append(entry)
                if isinstance(entry, UnreadableFile):
                    faults[entry.path] = entry.fault
                if time.monotonic() > saved + _COMMIT_S or done == len(stale):
                    self._write(connection, pending)
                    pending, saved = [], time.monotonic()
                if on_progress is not None:
                    on_progress(done, len(stale))
        except (KeyboardInterrupt, TerminatedError) as stop:
            self._write(connection, pending)  # writing the same entries twice changes nothing
            number, count = get_stop_signal(stop), f"{done} of {len(stale)}"
            message = f"stopped by {describe_signal(number)}; {self.path} contains the pages of {count} files"
            raise UserFacingError(message, 128 + number)
        return faults

    def _write(self, connection: sqlite3.Connection, entries: Sequence[CachedPage | UnreadableFile]) -> None:
        """Store entries in one transaction."""
        cached = [entry for entry in entries if isinstance(entry, CachedPage)]
        unreadable = [entry for entry in entries if isinstance(entry, UnreadableFile) and entry.state is not None]
        pages = [(entry.digest, *entry.page) for entry in cached if entry.page is not None]
        file_rows = [(self._key(entry.path), *entry.state, entry.digest) for entry in cached]
        fault_rows = [
            (self._key(entry.path), *(entry.state or ()), entry.fault.encode(errors="replace")) for entry in unreadable
        ]
        num_bytes = sum(len(page[-1]) for page in pages)
        with explain_full_disk(self.path, num_bytes), connection:
            connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", pages)
            for table, rows, other in (("files", file_rows, "faults"), ("faults", fault_rows, "files")):
                marked = [(*row, codec.compute_mark(row)) for row in rows]
                connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?, ?)", marked)
                connection.executemany(f"DELETE FROM {other} WHERE path = ?", [row[:1] for row in rows])

    def _find_stale(self, sources: dict[str, Drawing]) -> tuple[dict[str, bytes | None], dict[str, str]]:
        """Compare the files with their entries.

        Returns:
            The paths of new or changed files, with the SHA-256 of their stored page or None; and the paths of files
            that are known to be unreadable, with the reason.
        """
        pages, faults = self._load_rows(tables.SELECT_FILES), self._load_rows(tables.SELECT_FAULTS)
        stale: dict[str, bytes | None] = {}
        unreadable: dict[str, str] = {}
        for path in sources:
            key, state = self._key(path), codec.get_file_state(path)
            page, fault = pages.get(key), faults.get(key)
            if fault is not None and fault[0] == state:
                unreadable[path] = fault[1].decode()
            elif page is None or page[0] != state:
                stale[path] = None if page is None else page[1]
        return stale, unreadable

    def _load_rows(self, query: str) -> dict[bytes, tuple[FileState, bytes]]:
        """Return the undamaged rows of SELECT_FILES or SELECT_FAULTS: key -> state, and digest or reason."""
        if not self.path.exists():
            return {}
        try:
            connection = self.connections.get()
            if not tables.has_tables(connection) or (
                query == tables.SELECT_FAULTS and not tables.has_faults_table(connection)
            ):
                return {}
            return {row[0]: (row[1:4], row[4]) for row in connection.execute(query) if codec.mark_is_valid(row)}
        except sqlite3.Error as error:
            raise self.connections.explain(error)

    def _repair(self, connection: sqlite3.Connection) -> int:
        intact = set()
        for digest, height, width, page in connection.execute("SELECT digest, height, width, page FROM pages"):
            if self._unpack(digest, height, width, page) is not None:
                intact.add(digest)
        files = connection.execute("SELECT * FROM files").fetchall()
        invalid = [
            (row[0],)
            for row in files
            if not (
                codec.mark_is_valid(row)
                and row[4] in intact
                and codec.get_file_state(os.path.join(self._root, os.fsdecode(row[0]))) is not None
            )
        ]
        [num_faults] = connection.execute("SELECT count(*) FROM faults").fetchone()
        connection.execute("DELETE FROM faults")
        connection.executemany("DELETE FROM files WHERE path = ?", invalid)
        connection.execute("DELETE FROM pages WHERE digest NOT IN (SELECT digest FROM files)")
        connection.commit()
        connection.execute("VACUUM")
        return len(invalid) + int(num_faults)

    def _key(self, path: str) -> bytes:
        """Return the path relative to the parent of the cache folder, so that cache and data may move together."""
        return os.fsencode(os.path.abspath(path).removeprefix(self._root))

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:  # not once per epoch
            self._warned.add(message)
            get_logger().warning(message)


def _add_sources(faults: Mapping[str, str], sources: Mapping[str, Drawing]) -> dict[str, str]:
    """Return the faults in the wording of `read_drawing`."""
    names = {path: f"{one.source}: {escape_unprintable(path)}" for path, one in sources.items() if path in faults}
    return {path: f"{name}: {faults[path]}".removeprefix(": ") for path, name in names.items()}
