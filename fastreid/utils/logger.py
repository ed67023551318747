"""The run's log: plain lines on the console, the same and more with dates in `log.txt`."""

import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from termcolor import colored

LOGGER_NAME = "fastreid"
RESULT = logging.INFO + 5  # what a command is run for, such as scores and its end: told with --quiet too
QUIET, DEBUG = "--quiet", "--debug"  # words that any command takes, anywhere


def get_logger() -> logging.Logger:
    """The logger all of the package writes to."""
    return logging.getLogger(LOGGER_NAME)


def console_level(words: Sequence[str]) -> int:
    """From where on the console tells, by the words of a command line: warnings and results, progress too, or all."""
    return logging.DEBUG if DEBUG in words else RESULT if QUIET in words else logging.INFO


def is_quiet() -> bool:
    """Whether progress is not wanted on the console."""
    return console_level(sys.argv) > logging.INFO


def setup_logger(folder: str | Path | None = None, *, rank: int = 0) -> logging.Logger:
    """Send the run's lines to the console (process 0 only) and to `folder/log.txt` (`log.txt.rankN` for the others).

    Without a folder there is no file. The console follows --quiet and --debug of the command line, which processes that
    a run starts have too; the file holds everything.
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
    file.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt="%m/%d %H:%M:%S"))
    logger.addHandler(file)
    return logger


def show_status(text: str) -> bool:
    """Put a line at the console's end that the next one replaces; "" takes it away.

    Returns:
        Whether it is seen: only on a terminal, and not with --quiet.
    """
    return any(handler.show(text) for handler in get_logger().handlers if isinstance(handler, _ConsoleHandler))


class _ConsoleHandler(logging.StreamHandler):
    """A console that keeps a line of status below all others, where it is a terminal.

    One whose reader left, as with `| head -1`, is written to no more; the run goes on.
    """

    status = ""

    def show(self, text: str) -> bool:
        if not self.stream.isatty() or os.environ.get("TERM") == "dumb" or self.level > logging.INFO:
            return False
        width = shutil.get_terminal_size().columns - 1  # a full line would break, and its first half stay
        self.acquire()
        try:
            self.stream.write(f"\r{text[:width]}\033[K")
            self.flush()
            self.status = text
        except OSError:
            self._leave()
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
            self._leave()
        else:
            super().handleError(record)

    def _leave(self) -> None:
        # What the stream still holds must go somewhere, or Python complains of it when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            return colored(text, "red")
        return colored(text, "yellow") if record.levelno >= logging.WARNING else text


class _LogFileHandler(logging.FileHandler):
    """A log that cannot be written says so once on stderr and lets the run go on."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.failed:
            self.failed = True
            print(f"{self.baseFilename}: cannot be written ({sys.exc_info()[1]}); training goes on", file=sys.stderr)
