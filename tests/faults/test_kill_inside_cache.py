"""Kill runs that fill a cache, or let two runs fill it at once: the next run finds every written page."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fork_server import get_server
from PIL import Image

from fastreid.data.io.cache import store
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_drawing
from fastreid.structures import Drawing
from fastreid.utils.cli import UserFacingError, run_tool

REPOSITORY = Path(__file__).parents[2]
NUM = 300
LIMIT_S = 200  # workers import torch, which takes long if the machine is busy
UNGUARDED_SCRIPT = """
import sys
from pathlib import Path
from fastreid.data.io.cache.store import PageCache
from fastreid.structures import Drawing
drawings = [Drawing(str(path), path.name, "1") for path in sorted(Path(sys.argv[1], "data").iterdir())]
PageCache(Path(sys.argv[1], "cache"), longest_px=60).fill(drawings, num_workers=2)
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    rng = np.random.default_rng(0)
    for index in range(NUM):
        Image.fromarray(rng.integers(0, 256, (80, 70), dtype=np.uint8)).save(tmp_path / f"data/{index:03}.png")
    return tmp_path


def list_drawings(root):
    return [Drawing(str(path), path.name, "1") for path in sorted((Path(root) / "data").iterdir())]


def fill(root, num_workers):
    """Fill the cache with a commit per file, so that kills fall into commits too; print the number of decoded files."""
    store._COMMIT_S = 0.0
    print("begins", flush=True)
    report = PageCache(Path(root, "cache"), longest_px=60).fill(list_drawings(root), num_workers=num_workers)
    print(report.num_decoded, flush=True)


def fill_as_command(root):
    print("begins", flush=True)
    return run_tool(lambda _: PageCache(Path(root, "cache"), longest_px=60).fill(list_drawings(root), num_workers=2))


def start(root, num_workers=0):
    """Start process the cache and return the process."""
    return wait_for_begin(get_server().start("test_kill_inside_cache:fill", root, num_workers, folder=root))


def wait_for_begin(process):
    while "begins" not in process.read_output():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    return process


def read_num_decoded(process):
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    return int(output.splitlines()[-1])


def check(root):
    """Check that the cache contains the page of every file."""
    drawings = list_drawings(root)
    cache = PageCache(root / "cache", longest_px=60)
    assert cache.fill(drawings).num_decoded == 0
    assert all(np.array_equal(cache.read(drawing), read_drawing(drawing, longest_px=60)) for drawing in drawings)


def count_pages(root):
    """Return the number of pages in the cache."""
    cache = PageCache(root / "cache", longest_px=60)
    return cache.size()[0] if cache.path.exists() and cache.path.stat().st_size else 0


def wait_for_pages(root, num, process):
    """Wait until the cache contains more than `num` pages, or the process has ended."""
    deadline = time.monotonic() + LIMIT_S
    while process.poll() is None and count_pages(root) <= num:
        assert time.monotonic() < deadline, process.read_output()
        time.sleep(0.05)


def test_file_in_which_a_killed_run_created_no_tables_has_no_pages(root):
    cache = PageCache(root / "cache", longest_px=60)
    cache.path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(cache.path)) as connection:
        connection.executescript("PRAGMA user_version = 1; VACUUM;")
    assert cache.size() == (0, cache.path.stat().st_size)
    assert cache.size()[1] > 0


@pytest.mark.parametrize("num_workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_kills_lose_no_written_page(root, num_workers):
    rng, num_pages = random.Random(num_workers), [0]
    for _ in range(4):
        process = start(root, num_workers)
        if num_workers:  # workers need time to start
            wait_for_pages(root, num_pages[-1], process)
        time.sleep(rng.uniform(0.05, 0.25))
        process.kill()
        num_pages.append(count_pages(root))
    assert num_pages == sorted(num_pages)
    assert num_pages[-1] > 0
    assert read_num_decoded(start(root, num_workers)) == NUM - num_pages[-1]
    check(root)


@pytest.mark.parametrize("after_s", [0.3, 1.0])
def test_ctrl_c_while_workers_start_is_one_line(root, after_s):
    process = get_server().start("test_kill_inside_cache:fill_as_command", root, folder=root, new_session=True)
    wait_for_begin(process)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, len(errors.splitlines())) == (130, 1), errors
    assert "stopped by Ctrl-C" in errors


def test_ctrl_c_keeps_decoded_pages(root):
    def stop(done, num):
        if done == 20:
            raise KeyboardInterrupt

    cache = PageCache(root / "cache", longest_px=60)
    drawings = list_drawings(root)
    with pytest.raises(UserFacingError, match=f"sqlite contains the pages of 20 of {NUM} files") as end:
        cache.fill(drawings, on_progress=stop)
    assert (end.value.exit_code, cache.size()[0]) == (130, 20)


def test_two_concurrent_runs_decode_every_file_once(root):
    runs = [start(root) for _ in range(2)]
    assert sum(read_num_decoded(run) for run in runs) == NUM
    check(root)


def test_script_without_main_guard_fails_with_a_hint(root):
    (root / "mine.py").write_text(UNGUARDED_SCRIPT)
    done = subprocess.run(
        [sys.executable, root / "mine.py", root],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'in your own script, start the work under `if __name__ == "__main__":`' in done.stderr
