"""The one way out of a command: a plain line and the right exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from fastreid.utils.errors import FastreidError, InputError, StorageError
from fastreid.utils.logger import DEBUG, QUIET, setup_logger, show_status
from fastreid.utils.text import summarize_error


class UserFacingError(Exception):
    """An end that is told in one line, with its exit code; also one that another process of the run came to."""

    def __init__(self, line: str, exit_code: int):
        super().__init__(line)
        self.exit_code = exit_code


class StoppedBySignalError(UserFacingError):
    """A signal asked the run to end and everything was saved; the exit code is 128 plus the signal's number.

    Args:
        signal_number: of the signal.
        saved: the file to go on from.
    """

    def __init__(self, signal_number: int, saved: str):
        self.signal_number = signal_number
        self.saved = saved
        super().__init__(f"stopped by signal {signal_number}; saved {saved}; go on with --resume", 128 + signal_number)


def run_tool(main: Callable[[Sequence[str] | None], int]) -> int:
    """Run a command's `main` and turn whatever ends it into one line on stderr and an exit code.

    Anywhere on the command line, `--quiet` leaves warnings, results and the end, and `--debug` tells everything and
    prints the traceback of a fault.

    Returns:
        0 done; 1 a fault of ours; 2 bad input; 3 environment; 4 numbers; 5 storage; 6 weights; 130, 143 signals.
    """
    arguments = [word for word in sys.argv[1:] if word not in (QUIET, DEBUG)]
    setup_logger(rank=int(os.environ.get("RANK", 0)))
    try:
        if QUIET in sys.argv and DEBUG in sys.argv:
            raise InputError(f"command line: {QUIET} and {DEBUG} do not go together; leave one of them out")
        return main(arguments)
    except KeyboardInterrupt:
        show_status("")
        print("stopped by the keyboard; only what was finished before is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as with `| head`
        sys.stderr.close()
        return 0
    except Exception as error:
        show_status("")
        if DEBUG in sys.argv:
            traceback.print_exc()
        line, code = explain_error(error)
        print(line, file=sys.stderr)
        return code


def explain_error(error: Exception) -> tuple[str, int]:
    """One line and the exit code for anything that was raised."""
    if isinstance(error, (FastreidError, UserFacingError)):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error.filename or 'a file'}: the disk is full; free space and go on with --resume", 5
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}", StorageError.exit_code
    return f"{type(error).__name__}: {summarize_error(error)} (a fault of ours: run again with --debug and report it)", 1
