import os
import signal
import time

import pytest

from fastreid.engine.launch import launch
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError


def kill_second_process():
    comm.all_gather_object(None)
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.all_gather_object(None)


def test_killed_process_stops_the_others_and_is_reported():
    start, handlers = time.monotonic(), [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(
        EnvironmentSetupError, match=r"killed: process 1 by signal 9\); the others were stopped; resume with"
    ):
        launch(kill_second_process, 2, device="cpu")
    assert time.monotonic() - start < 60
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
