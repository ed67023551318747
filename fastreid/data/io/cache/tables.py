"""The tables of a cache, and what SQLite's errors say of them."""

import sqlite3
from pathlib import Path

_APPLICATION = 0x70617467  # what the file's header says it is for
_DAMAGED = ("not a database", "malformed", "no such table", "no such column", "unsupported file format")
_SCHEMA = """
CREATE TABLE files (path BLOB PRIMARY KEY, size INT, mtime_ns INT, ctime_ns INT, digest BLOB, mark BLOB) WITHOUT ROWID;
CREATE TABLE pages (digest BLOB PRIMARY KEY, height INT, width INT, page BLOB);
"""
_FAULTS = """
CREATE TABLE IF NOT EXISTS
faults (path BLOB PRIMARY KEY, size INT, mtime_ns INT, ctime_ns INT, words BLOB, mark BLOB) WITHOUT ROWID
"""

_FILE = "path, size, mtime_ns, ctime_ns, f.digest, mark"
PAGE = f"SELECT {_FILE}, height, width, page FROM files f JOIN pages p ON p.digest = f.digest WHERE path = ?"
FILES = f"SELECT {_FILE} FROM files f JOIN pages p ON p.digest = f.digest"
FAULTS = "SELECT path, size, mtime_ns, ctime_ns, words, mark FROM faults"


def open_to_write(path: Path) -> sqlite3.Connection:
    """A connection to a file of pages, with the tables made where they are missing; the caller holds the lock."""
    connection = sqlite3.connect(path, timeout=60)
    if not is_ours(connection):
        connection.execute("PRAGMA page_size = 8192")
        connection.executescript(f"BEGIN; PRAGMA application_id = {_APPLICATION}; {_SCHEMA} COMMIT;")
    connection.execute(_FAULTS)  # which files that are older than this table lack
    return connection


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether the file as a whole is not what was written."""
    return any(words in str(error) for words in _DAMAGED)


def is_held(error: sqlite3.Error) -> bool:
    """Whether another process is writing; Python 3.10 gives the words alone."""
    return "locked" in str(error)


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there; another run may be about to make them."""
    return connection.execute("PRAGMA application_id").fetchone() == (_APPLICATION,)


def knows_faults(connection: sqlite3.Connection) -> bool:
    """Whether there is a table of images that cannot be read; files that are older than it have none."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'faults'").fetchone() is not None
