import importlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from torch.distributed import HashStore

from fastreid.engine.processes.launch import _process_group, launch
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


def get_thread_names():
    return {path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_of_the_process_group_end_with_it(monkeypatch):
    """A module of torch keeps the group that exists when it is imported, and with the group its threads."""
    module = "torch.distributed.nn.functional"
    monkeypatch.delitem(sys.modules, module, raising=False)
    with _process_group("cpu", 0, HashStore(), rank=0, world_size=1):
        importlib.import_module(module)
        comm.all_gather_object(None)
        deadline = time.monotonic() + 60
        while "gloo_tcp_loop" not in get_thread_names():  # a new thread gives itself its name
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "gloo_tcp_loop" not in get_thread_names()
