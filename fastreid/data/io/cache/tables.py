"""SQLite schema of the page cache, and the meaning of SQLite's errors."""

import sqlite3
from pathlib import Path

from fastreid.utils.files import check_own_file

_APPLICATION = 0x70617467  # identifies the file in its header
_NOT_DAMAGED = ("unable to open", "readonly", "full", "disk I/O")  # anything else is damage, such as a changed schema
LOCK_WAIT_S = 5.0  # another run locks the file for milliseconds, unless it hangs
_SCHEMA = """
CREATE TABLE files (path BLOB PRIMARY KEY, size INT, mtime_ns INT, ctime_ns INT, digest BLOB, mark BLOB) WITHOUT ROWID;
CREATE TABLE pages (digest BLOB PRIMARY KEY, height INT, width INT, page BLOB);
"""
_FAULTS = """
CREATE TABLE IF NOT EXISTS
faults (path BLOB PRIMARY KEY, size INT, mtime_ns INT, ctime_ns INT, words BLOB, mark BLOB) WITHOUT ROWID
"""

_FILE = "path, size, mtime_ns, ctime_ns, f.digest, mark"
SELECT_PAGE = f"SELECT {_FILE}, height, width, page FROM files f JOIN pages p ON p.digest = f.digest WHERE path = ?"
SELECT_FILES = f"SELECT {_FILE} FROM files f JOIN pages p ON p.digest = f.digest"
SELECT_FAULTS = "SELECT path, size, mtime_ns, ctime_ns, words, mark FROM faults"


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Connect to a cache file and create missing tables; the caller holds the lock."""
    check_own_file(path)
    connection = sqlite3.connect(path, timeout=LOCK_WAIT_S)
    if not has_tables(connection):
        connection.execute("PRAGMA page_size = 8192")
        connection.executescript(f"BEGIN; PRAGMA application_id = {_APPLICATION}; {_SCHEMA} COMMIT;")
    connection.execute(_FAULTS)  # files of older versions lack this table
    return connection


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether the error means that the file as a whole is damaged."""
    return not is_locked(error) and not any(text in str(error) for text in _NOT_DAMAGED)


def is_locked(error: sqlite3.Error) -> bool:
    """Return whether the error means that another process is writing; Python 3.10 has only the message."""
    return "locked" in str(error)


def has_tables(connection: sqlite3.Connection) -> bool:
    """Return whether the tables exist; another run may be about to create them."""
    application: tuple[int] | None = connection.execute("PRAGMA application_id").fetchone()
    return application == (_APPLICATION,)


def has_faults_table(connection: sqlite3.Connection) -> bool:
    """Return whether there is a table of unreadable images; files of older versions have none."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'faults'").fetchone() is not None
