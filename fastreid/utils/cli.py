"""Exit of a command: a one-line error message and the exit code."""

import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from fastreid.utils.errors import FastreidError, InputError, StorageError
from fastreid.utils.logger import DEBUG, QUIET, setup_logger, show_status
from fastreid.utils.text import summarize_error


class UserFacingError(Exception):
    """An error that is shown as one line, with its exit code; it may come from another process of the run.

    Args:
        message: the line.
        exit_code: exit code of the command.
    """

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


class StoppedBySignalError(UserFacingError):
    """A signal stopped the run after everything was saved; the exit code is 128 plus the signal number.

    Args:
        signal_number: number of the signal.
        saved: the checkpoint to resume from.
    """

    def __init__(self, signal_number: int, saved: str):
        self.signal_number = signal_number
        self.saved = saved
        super().__init__(
            f"stopped by signal {signal_number}; saved {saved}; continue with --resume", 128 + signal_number
        )


def run_tool(main: Callable[[Sequence[str] | None], int]) -> int:
    """Run a command's `main` and turn any exception into one line on stderr and an exit code.

    Anywhere on the command line, `--quiet` shows only warnings and results on the console, and `--debug` shows all
    messages and the traceback of an error. Both are removed before `main` gets the arguments.

    Returns:
        0 success; 1 a bug; 2 invalid input; 3 environment; 4 numerical error; 5 storage; 6 weights; 130, 143 signals.
    """
    arguments = [argument for argument in sys.argv[1:] if argument not in (QUIET, DEBUG)]
    setup_logger(rank=int(os.environ.get("RANK", 0)))
    try:
        if QUIET in sys.argv and DEBUG in sys.argv:
            raise InputError(f"command line: {QUIET} and {DEBUG} cannot be combined; leave one of them out")
        return main(arguments)
    except KeyboardInterrupt:
        show_status("")
        print("interrupted from the keyboard; only results that were already complete are kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has exited, as in `| head`
        sys.stderr.close()
        return 0
    except Exception as error:
        show_status("")
        if DEBUG in sys.argv:
            traceback.print_exc()
        message, code = explain_error(error)
        print(message, file=sys.stderr)
        return code


def explain_error(error: Exception) -> tuple[str, int]:
    """Return a one-line message and the exit code for an exception."""
    if isinstance(error, (FastreidError, UserFacingError)):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{error.filename or 'a file'}: the disk is full; free space and continue with --resume", 5
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}", StorageError.exit_code
    return (
        f"{type(error).__name__}: {summarize_error(error)} (a bug in fastreid: run again with --debug and report it)",
        1,
    )
