"""The run's log: plain lines on the console, the same with dates in `log.txt`."""

import logging
import os
import sys
from pathlib import Path

from termcolor import colored

NAME = "fastreid"


def get_logger() -> logging.Logger:
    """The logger all of the package writes to."""
    return logging.getLogger(NAME)


def setup_logger(folder: str | Path | None = None, *, rank: int = 0) -> logging.Logger:
    """Send the run's lines to the console (process 0 only) and to `folder/log.txt` (`log.txt.rankN` for the others).

    Without a folder there is no file.
    """
    logger = get_logger()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    if rank == 0:
        console = _Console(sys.stdout)
        console.setLevel(logging.INFO)
        console.setFormatter(_ConsoleFormatter())
        logger.addHandler(console)
    if folder is None:
        return logger
    file = _LogFile(Path(folder) / ("log.txt" if rank == 0 else f"log.txt.rank{rank}"), encoding="utf-8")
    file.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt="%m/%d %H:%M:%S"))
    logger.addHandler(file)
    return logger


class _Console(logging.StreamHandler):
    """A console whose reader left, as with `| head -1`, is written to no more; the run goes on."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)
            return
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


class _LogFile(logging.FileHandler):
    """A log that cannot be written says so once on stderr and lets the run go on."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self.failed:
            self.failed = True
            print(f"{self.baseFilename}: cannot be written ({sys.exc_info()[1]}); training goes on", file=sys.stderr)
