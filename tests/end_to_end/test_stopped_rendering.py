"""Real processes that are stopped while they render or decode: one line, no warnings, no unfinished folder."""

import os
import signal
import subprocess
import sys
import time

import pytest
from commands import REPOSITORY, TINY

MANY = ("DATASETS.GENERATED.NUM_TRAIN_PATENTS", 5000, "DATASETS.GENERATED.SIZE_PX", 320)


def start(*arguments, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "fastreid", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def wait_for_drawing(folder, process, *, limit_s=120):
    deadline = time.monotonic() + limit_s
    while next(folder.rglob("*.png"), None) is None:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(process, number, *, group):
    """Send a signal to a process or to its group, as a terminal and systemd do; return its exit code and errors."""
    send = os.killpg if group else os.kill
    send(process.pid, number)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def has_group_ended(process):
    for _ in range(100):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("number", "workers", "group"),
    [
        (signal.SIGTERM, 2, False),
        pytest.param(signal.SIGTERM, 2, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 0, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 2, True, marks=pytest.mark.slow),
    ],
)
def test_stopped_data_synth_is_one_line(number, workers, group, tmp_path):
    process = start("data", "synth", "--output", "out", "--patents", 5000, "--workers", workers, folder=tmp_path)
    wait_for_drawing(tmp_path, process)
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    line = f"stopped by {name}; only results that were already complete are kept\n"
    assert stop(process, number, group=group) == (128 + number, line)
    assert has_group_ended(process)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["generated.json", "train_data"]


@pytest.mark.parametrize(("workers", "group"), [(2, True), pytest.param(0, False, marks=pytest.mark.slow)])
def test_training_that_is_stopped_while_rendering_leaves_no_folder(workers, group, tmp_path):
    settings = ("DATASETS.ROOT", "data", "OUTPUT_DIR", "out", "DATALOADER.NUM_WORKERS", workers, *MANY)
    backbone = ("MODEL.BACKBONE.NAME", "build_resnet_backbone")
    process = start("train", "--config-file", TINY, *backbone, *settings, folder=tmp_path)
    wait_for_drawing(tmp_path, process)
    code, errors = stop(process, signal.SIGTERM, group=group)
    assert (code, errors) == (143, "stopped by SIGTERM; only results that were already complete are kept\n")
    assert has_group_ended(process)
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".generated.lock"]
