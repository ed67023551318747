"""A cache that a killed run was filling, or that two runs fill at once, is whole for the next one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_drawing
from fastreid.structures import Drawing
from fastreid.utils.cli import UserFacingError

REPOSITORY = Path(__file__).parents[2]
NUM = 300
FILL = """
import sys
from pathlib import Path
from fastreid.data.io.cache import store as cache
from fastreid.structures import Drawing
cache._COMMIT_S, workers = 0.0, int(sys.argv[2])  # a commit a file, so that kills fall inside commits too
drawings = [Drawing(str(path), path.name, "1") for path in sorted(Path(sys.argv[1], "data").iterdir())]
print("begins", flush=True)
filled = cache.PageCache(Path(sys.argv[1], "cache"), longest_px=60).fill(drawings, num_workers=workers)
print(filled.num_decoded, flush=True)
"""

STOPPABLE = """
import sys
from pathlib import Path
from fastreid.data.io.cache.store import PageCache
from fastreid.structures import Drawing
from fastreid.utils.cli import run_tool
drawings = [Drawing(str(path), path.name, "1") for path in sorted(Path(sys.argv[1], "data").iterdir())]
print("begins", flush=True)
sys.exit(run_tool(lambda _: PageCache(Path(sys.argv[1], "cache"), longest_px=60).fill(drawings, num_workers=2)))
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    for number in range(NUM):
        Image.fromarray(rng.integers(0, 256, (80, 70), dtype=np.uint8)).save(tmp_path / f"data/{number:03}.png")
    return tmp_path


def start(root, num_workers=0):
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, root, str(num_workers)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    process.stdout.readline()
    return process


def read_num_decoded(filling):
    output = filling.stdout.read()  # not communicate(): it looks past what readline() has read ahead
    assert filling.wait() == 0, output
    filling.stdout.close()
    return int(output.splitlines()[-1])


def check(root):
    """Every page is there and is that of its file."""
    drawings = [Drawing(str(path), path.name, "1") for path in sorted((root / "data").iterdir())]
    cache = PageCache(root / "cache", longest_px=60)
    assert cache.fill(drawings).num_decoded == 0
    assert all(np.array_equal(cache.read(drawing), read_drawing(drawing, longest_px=60)) for drawing in drawings)


def pages(root):
    """How many pages the cache holds."""
    cache = PageCache(root / "cache", longest_px=60)
    return cache.size()[0] if cache.path.exists() and cache.path.stat().st_size else 0


def wait_for_pages(root, num, filling):
    """Until the cache holds more than `num` pages, or the fill is over."""
    deadline = time.monotonic() + 60
    while filling.poll() is None and time.monotonic() < deadline and pages(root) <= num:
        time.sleep(0.05)


@pytest.mark.parametrize("num_workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_kills_lose_no_page_that_was_written(root, num_workers):
    chance, num_pages = random.Random(num_workers), [0]
    for _ in range(4):
        filling = start(root, num_workers)
        if num_workers:  # they take a while to start
            wait_for_pages(root, num_pages[-1], filling)
        time.sleep(chance.uniform(0.05, 0.25))
        filling.send_signal(signal.SIGKILL)
        filling.communicate(timeout=30)
        num_pages.append(pages(root))
    assert num_pages == sorted(num_pages)
    assert num_pages[-1] > 0
    assert read_num_decoded(start(root, num_workers)) == NUM - num_pages[-1]
    check(root)


@pytest.mark.parametrize("after_s", [0.3, 1.0])
def test_ctrl_c_while_workers_start_is_told_in_one_line(root, after_s):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", STOPPABLE, root]
    with subprocess.Popen(command, cwd=REPOSITORY, start_new_session=True, **pipes) as run:
        assert run.stdout.readline() == "begins\n"
        time.sleep(after_s)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
        _, told = run.communicate(timeout=60)
    assert (run.returncode, len(told.splitlines())) == (130, 1), told
    assert "interrupted by Ctrl-C" in told


def test_ctrl_c_keeps_what_was_read(root):
    def stop(done, num):
        if done == 20:
            raise KeyboardInterrupt

    cache = PageCache(root / "cache", longest_px=60)
    drawings = [Drawing(str(path), path.name, "1") for path in (root / "data").iterdir()]
    with pytest.raises(UserFacingError, match=f"sqlite contains the pages of 20 of {NUM} files") as end:
        cache.fill(drawings, on_progress=stop)
    assert (end.value.exit_code, cache.size()[0]) == (130, 20)


def test_two_runs_at_once_decode_every_file_once(root):
    runs = [start(root) for _ in range(2)]
    assert sum(read_num_decoded(run) for run in runs) == NUM
    check(root)


def test_a_script_without_a_guard_is_told_and_does_not_hang(root):
    (root / "mine.py").write_text(FILL)
    done = subprocess.run(
        [sys.executable, root / "mine.py", root, "2"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'a script of your own does its work under `if __name__ == "__main__":`' in done.stderr
