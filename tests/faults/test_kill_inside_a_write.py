"""A writer killed at any moment leaves a whole file, the old one or the new one."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid.utils.files import remove_stale

REPOSITORY = Path(__file__).parents[2]
SIZE = 1_000_000
WRITER = f"""
import sys
from fastreid.utils.files import atomic_write
for number in range(10_000):
    with atomic_write(sys.argv[1]) as file:
        file.write(bytes([number % 256]) * {SIZE})
"""


def kill_while_writing(path, after_s):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], cwd=REPOSITORY)
    while not path.exists():
        time.sleep(0.001)
    time.sleep(after_s)
    writer.send_signal(signal.SIGKILL)
    writer.wait()


def torn(num_kills, folder):
    """How many of so many kills left a file that is not whole."""
    count = 0
    for number in range(num_kills):
        path = folder / f"{number}.bin"
        kill_while_writing(path, random.Random(number).uniform(0, 0.03))
        data = path.read_bytes()
        count += len(data) != SIZE or len(set(data)) != 1
    return count


def test_no_kill_tears_a_file(tmp_path):
    assert torn(10, tmp_path) == 0
    remove_stale(tmp_path)
    assert len(list(tmp_path.iterdir())) == 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_kill_of_a_thousand_tears_a_file(tmp_path):
    assert torn(1000, tmp_path) == 0
