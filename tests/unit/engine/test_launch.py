"""Two processes of which one is killed."""

import os
import signal
import time

import pytest

from fastreid.engine.launch import launch
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError


def end_badly():
    comm.all_gather_object(None)
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.all_gather_object(None)


def test_a_killed_process_brings_the_others_down_and_is_what_is_told():
    begun, handlers = time.monotonic(), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(
        EnvironmentSetupError, match=r"killed: process 1 by signal 9\); the others were stopped; go on with"
    ):
        launch(end_badly, 2, device="cpu")
    assert time.monotonic() - begun < 60
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
