"""Exit of a command: a one-line error message and the exit code."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from fastreid.utils.errors import FastreidError, InputError, StorageError
from fastreid.utils.files import describe_write_error
from fastreid.utils.logger import DEBUG, QUIET, setup_logger, show_status
from fastreid.utils.resources import FULL_DISK_ERRORS, find_resource_error
from fastreid.utils.termination import TerminatedError, describe_signal, describe_stop, get_stop_signal
from fastreid.utils.text import escape_message, summarize_error


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
            f"stopped by {describe_signal(signal_number)}; saved {saved}; continue with --resume", 128 + signal_number
        )


def run_tool(main: Callable[[Sequence[str] | None], int]) -> int:
    """Run a command's `main` and turn any exception into one line on stderr and an exit code.

    Anywhere on the command line, `--quiet` shows only warnings and results on the console, and `--debug` shows all
    messages and the traceback of an error. Both are removed before `main` gets the arguments.

    Returns:
        0 success; 1 a bug; 2 invalid input; 3 environment; 4 numerical error; 5 storage; 6 weights; 130, 143 signals.
    """
    arguments = [argument for argument in sys.argv[1:] if argument not in (QUIET, DEBUG)]
    rank = os.environ.get("RANK", "")
    setup_logger(rank=int(rank) if rank.isdecimal() else 0)
    try:
        if QUIET in sys.argv and DEBUG in sys.argv:
            raise InputError(f"command line: {QUIET} and {DEBUG} cannot be combined; leave one of them out")
        return main(arguments)
    except (KeyboardInterrupt, TerminatedError) as stop:
        show_status("")
        print(describe_stop(get_stop_signal(stop)), file=sys.stderr)
        return 128 + get_stop_signal(stop)
    except BrokenPipeError:  # the reader of our output has exited, as in `| head`
        sys.stderr.close()
        return 0
    except Exception as error:
        show_status("")
        if DEBUG in sys.argv:
            print(escape_message(traceback.format_exc(), keep_lines=True), end="", file=sys.stderr)
        message, code = explain_error(error)
        print(message, file=sys.stderr)
        return code


def explain_error(error: Exception | TerminatedError) -> tuple[str, int]:
    """Return a message without control characters, one line unless it lists several faults, and the exit code."""
    message, code = _explain(error)
    has_headings = isinstance(error, UserFacingError) or (isinstance(error, FastreidError) and error.has_headings)
    return escape_message(message, keep_lines=has_headings), code


def _explain(error: Exception | TerminatedError) -> tuple[str, int]:
    if isinstance(error, TerminatedError):
        return str(error), 128 + get_stop_signal(error)
    if isinstance(error, (FastreidError, UserFacingError)):
        return str(error), error.exit_code
    resource_error = find_resource_error(error)
    if resource_error is not None:
        return str(resource_error), resource_error.exit_code
    if isinstance(error, OSError) and error.errno in FULL_DISK_ERRORS:
        name = error.filename or "a file"
        reason = describe_write_error(name, error)
        return f"{name}: the disk is full ({reason}); free space and continue with --resume", StorageError.exit_code
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}", StorageError.exit_code
    return (
        f"{type(error).__name__}: {summarize_error(error)} (a bug in fastreid: run again with --debug and report it)",
        1,
    )
