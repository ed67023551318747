"""Logging: plain messages on the console, and all messages with time stamps in `log.txt`."""

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from termcolor import colored

from fastreid.utils.files import describe_write_error, open_own_file
from fastreid.utils.text import escape_message

LOGGER_NAME = "fastreid"
RESULT = logging.INFO + 5  # level of the results of a command, such as scores; shown with --quiet too
QUIET, DEBUG = "--quiet", "--debug"  # options of every command, at any position

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # generic at run time only since Python 3.11


def get_logger() -> logging.Logger:
    """Return the logger of the package."""
    return logging.getLogger(LOGGER_NAME)


def console_level(arguments: Sequence[str]) -> int:
    """Return the log level of the console for a command line.

    RESULT (results and warnings) with --quiet, DEBUG with --debug, else INFO.
    """
    return logging.DEBUG if DEBUG in arguments else RESULT if QUIET in arguments else logging.INFO


def is_quiet() -> bool:
    """Return whether the console shows no progress, because of --quiet."""
    return console_level(sys.argv) > logging.INFO


def setup_logger(folder: str | Path | None = None, *, rank: int = 0) -> logging.Logger:
    """Send log messages to the console (main process only) and to `log.txt` (`log.txt.rankN` in other processes).

    The console obeys --quiet and --debug of the command line, which worker processes share; the file has all messages.

    Args:
        folder: folder of the log file; None: no file.
        rank: process rank.

    Returns:
        The logger of the package.

    Raises:
        StorageError: the log file is a symbolic link, a pipe, a device or a folder.
    """
    logger = get_logger()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if rank == 0:
        console = _ConsoleHandler(sys.stdout)
        console.setLevel(console_level(sys.argv))
        console.setFormatter(_ConsoleFormatter())
        logger.addHandler(console)
    if folder is None:
        return logger
    logging.addLevelName(RESULT, "RESULT")
    file = _LogFileHandler(Path(folder) / ("log.txt" if rank == 0 else f"log.txt.rank{rank}"), encoding="utf-8")
    file.setFormatter(_LogFileFormatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt="%m/%d %H:%M:%S"))
    logger.addHandler(file)
    return logger


def log_to_stderr() -> None:
    """Send the console messages to stderr, for commands whose stdout is read by a program."""
    for handler in get_logger().handlers:
        if isinstance(handler, _ConsoleHandler):
            handler.setStream(sys.stderr)


def show_status(text: str) -> bool:
    """Show a status line below the console output, replacing the previous one; "" removes it.

    Returns:
        Whether the line is visible: only on a terminal, and not with --quiet.
    """
    return any(handler.show(text) for handler in get_logger().handlers if isinstance(handler, _ConsoleHandler))


class _ConsoleHandler(_StreamHandler):
    """Writes to the console and, on a terminal, keeps a status line below all messages.

    If the reader has exited, as in `| head -1`, further output is discarded and the run continues.
    """

    status = ""

    def show(self, text: str) -> bool:
        text = escape_message(text)
        if not self.stream.isatty() or os.environ.get("TERM") == "dumb" or self.level > logging.INFO:
            return False
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap, and its first part would remain
        self.acquire()
        try:
            self.stream.write(f"\r{text[:width]}\033[K")
            self.flush()
            self.status = text
        except OSError:
            self._discard_output()
        finally:
            self.release()
        return True

    def emit(self, record: logging.LogRecord) -> None:
        status = self.status
        if status:
            self.show("")
        super().emit(record)
        if status:
            self.show(status)

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            self._discard_output()
        else:
            super().handleError(record)

    def _discard_output(self) -> None:
        # Redirect the stream, because Python reports buffered output that it cannot write at exit.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self.stream.fileno())
        os.close(devnull)


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = _escape_record(record.getMessage(), record)
        if record.levelno >= logging.ERROR:
            return colored(text, "red")
        return colored(text, "yellow") if record.levelno >= logging.WARNING else text


class _LogFileFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _escape_record(super().format(record), record)


def _escape_record(text: str, record: logging.LogRecord) -> str:
    """Escape control characters; only results (tables) and settings (debug) have several lines."""
    return escape_message(text, keep_lines=record.levelno in (logging.DEBUG, RESULT))


class _LogFileHandler(logging.FileHandler):
    """Reports a write error once on stderr and lets the run continue; does not follow a symbolic link."""

    has_failed = False

    def _open(self) -> TextIOWrapper:
        handle = open_own_file(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return os.fdopen(handle, "a", encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.has_failed:
            self.has_failed = True
            error, reason = sys.exc_info()[1], str(sys.exc_info()[1])
            if isinstance(error, OSError):
                reason = describe_write_error(self.baseFilename, error, num_bytes=len(self.format(record).encode()) + 1)
            print(
                escape_message(f"{self.baseFilename}: cannot be written ({reason}); the run continues without it"),
                file=sys.stderr,
            )
