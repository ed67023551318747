"""The one way out of a command: a plain line and the right exit code."""

import argparse
import errno
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from fastreid.utils.errors import FastreidError, InputError, StorageError


class TellableFault(Exception):
    """An end that is told in one line, with its exit code; also one that another process of the run came to."""

    def __init__(self, line: str, exit_code: int):
        super().__init__(line)
        self.exit_code = exit_code


class Stopped(TellableFault):
    """A signal asked the run to end and everything was saved; the exit code is 128 plus the signal's number.

    Args:
        signal_number: of the signal.
        saved: the file to go on from.
    """

    def __init__(self, signal_number: int, saved: str):
        self.signal_number = signal_number
        self.saved = saved
        super().__init__(f"stopped by signal {signal_number}; saved {saved}; go on with --resume", 128 + signal_number)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose refusals are one line, like all others."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}; {self.prog} --help tells what there is")


def run_tool(main: Callable[[Sequence[str] | None], int]) -> int:
    """Run a command's `main` and turn whatever ends it into one line on stderr and an exit code.

    `--debug` anywhere on the command line prints the traceback as well.

    Returns:
        0 done; 1 a fault of ours; 2 bad input; 3 environment; 4 numbers; 5 storage; 6 weights; 130, 143 signals.
    """
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        return main(arguments)
    except KeyboardInterrupt:
        print("stopped by the keyboard; only what was finished before is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as with `| head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        line, code = explain(error)
        print(line, file=sys.stderr)
        return code


def explain(error: Exception) -> tuple[str, int]:
    """One line and the exit code for anything that was raised."""
    if isinstance(error, (FastreidError, TellableFault)):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error.filename or 'a file'}: the disk is full; free space and go on with --resume", 5
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}", StorageError.exit_code
    return f"{type(error).__name__}: {one_line(error)} (a fault of ours: run again with --debug and report it)", 1


def one_line(error: Exception) -> str:
    """An error's message without line breaks, cut where it gets long."""
    return " ".join(str(error).split())[:300]
