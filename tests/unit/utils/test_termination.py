import os
import signal
import subprocess
import sys
import threading

import pytest

from fastreid.utils.cli import explain_error
from fastreid.utils.termination import TerminatedError, describe_signal, raise_on_sigterm

SECOND_SIGNAL = """
import os, signal
from fastreid.utils import termination
from fastreid.utils.termination import TerminatedError, raise_on_sigterm
with raise_on_sigterm():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except TerminatedError:
        os.kill(os.getpid(), signal.SIGTERM)
        print("the same signal again is ignored", flush=True)
        termination.SAME_SIGNAL_S = -1.0
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached", flush=True)
"""


@pytest.fixture(autouse=True)
def restore_handler():
    previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, previous)


def test_sigterm_raises_inside_the_block_only():
    with pytest.raises(TerminatedError) as stop, raise_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    expected = "stopped by SIGTERM; only results that were already complete are kept"
    assert explain_error(stop.value) == (expected, 143)


def test_second_sigterm_ends_the_process():
    done = subprocess.run([sys.executable, "-c", SECOND_SIGNAL], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "the same signal again is ignored\n"), done.stderr


def test_other_handlers_are_kept():
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    with raise_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_block_in_another_thread_changes_nothing():
    handlers = []

    def run():
        with raise_on_sigterm():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]


def test_signals_have_one_name():
    assert [describe_signal(number) for number in (signal.SIGINT, signal.SIGTERM)] == ["Ctrl-C", "SIGTERM"]
