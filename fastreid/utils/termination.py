"""Stop on SIGTERM like on Ctrl-C: by an exception, so that temporary files and worker processes are removed."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

_POLL_S = 0.1  # between two looks at a flag that a signal sets
SAME_SIGNAL_S = 1.0  # a signal to a process group can arrive twice: from its sender and from the parent process


class TerminatedError(SystemExit):
    """SIGTERM arrived in a `raise_on_sigterm` block; a program that does not catch it exits with the code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        return describe_stop(signal.SIGTERM)


def describe_stop(number: int) -> str:
    """Return the message of a command that a signal has stopped before it saved a checkpoint."""
    return f"stopped by {describe_signal(number)}; only results that were already complete are kept"


def describe_signal(number: int) -> str:
    """Return the name of a signal for messages, such as "SIGTERM", and "Ctrl-C" for SIGINT."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def get_stop_signal(error: KeyboardInterrupt | TerminatedError) -> int:
    """Return the number of the signal that an exception stands for."""
    return signal.SIGTERM if isinstance(error, TerminatedError) else signal.SIGINT


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise TerminatedError when SIGTERM arrives in this block, so that its `finally` clauses run.

    A second SIGTERM, more than SAME_SIGNAL_S later, ends the process at once. Outside of the main thread, or if the
    program handles SIGTERM itself, this block changes nothing.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    first_time_s: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not first_time_s:
            first_time_s.append(now)
            raise TerminatedError
        if now - first_time_s[0] > SAME_SIGNAL_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class StopRequest:
    """Whether a signal has asked a `request_stop` block to end.

    Attributes:
        number: number of the signal; None: no signal yet.
        message: written to stderr when the signal arrives; "": nothing.
    """

    def __init__(self, message: str = ""):
        self.number: int | None = None
        self.message = message
        self._time_s = 0.0

    def is_set(self) -> bool:
        """Return whether a signal has arrived."""
        return self.number is not None

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most some seconds, and return whether one has arrived."""
        deadline = time.monotonic() + seconds
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_S))  # Python resumes a longer sleep after a signal
        return self.is_set()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note a first signal; raise KeyboardInterrupt or TerminatedError at a later one."""
        now = time.monotonic()
        if self.number is None:
            self.number, self._time_s = number, now
            if self.message:
                # A stream could be in use at this moment.
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{self.message}\n".encode())
        elif now - self._time_s > SAME_SIGNAL_S:
            raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError


@contextlib.contextmanager
def request_stop(message: str) -> Iterator[StopRequest]:
    """Give the block a flag that the first SIGTERM or Ctrl-C sets; a second one stops it by an exception.

    Outside of the main thread no signal sets the flag.

    Args:
        message: written to stderr at the first signal, such as what is finished before the end.
    """
    request = StopRequest(message)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = [signal.signal(number, request.handle) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
