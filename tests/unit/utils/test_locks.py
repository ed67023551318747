"""Two holders of a lock exclude each other."""

import sys
import threading

import pytest

from fastreid.utils.locks import exclusive_lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")


def test_second_holder_waits_for_the_first(tmp_path):
    lock = tmp_path / ".lock"
    has_entered = threading.Event()

    def enter():
        with exclusive_lock(lock, activity="testing", config_key="OUTPUT_DIR"):
            has_entered.set()

    thread = threading.Thread(target=enter)
    with exclusive_lock(lock, activity="testing", config_key="OUTPUT_DIR"):
        thread.start()
        assert not has_entered.wait(0.2)
    assert has_entered.wait(10)
    thread.join()
