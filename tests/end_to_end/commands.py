"""The commands as a user starts them."""

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import torch

from fastreid.engine import setup

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests/end_to_end/tiny.yml"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
TIMED = {
    "time",
    "data_time",
    "eta_seconds",
    "drawings_per_second",
    "memory_mb",
    "cuda_memory_mb",
}  # told by the clock and the machine


def start(tool, *arguments, folder, launcher=(), **environment):
    """Start a command in a folder, by itself or by a launcher's words after `python`; the process."""
    return subprocess.Popen(
        [sys.executable, *launcher, REPOSITORY / "tools" / tool, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(tool, *arguments, folder, launcher=(), **environment):
    """Run a command in a folder; its exit code, output and errors."""
    process = start(tool, *arguments, folder=folder, launcher=launcher, **environment)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors


def wait_for(path, process, *, limit_s=120):
    """Wait until a file is there and not empty; the run must live until then."""
    deadline = time.monotonic() + limit_s
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_of(launcher):
    """The ids of the training processes that a launcher, torchrun or ours, has started."""
    ids = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    words = {int(id_): Path(f"/proc/{id_}/cmdline").read_text() for id_ in ids}
    return [id_ for id_, command in words.items() if "train_net.py" in command or "spawn_main" in command]


def is_alive(id_):
    stat = Path(f"/proc/{id_}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def run_here(tool, *arguments, folder):
    """Run a command in this process, without the seconds a new one takes to import torch; as `run` otherwise."""
    spec = importlib.util.spec_from_file_location(f"tool_{tool}", REPOSITORY / "tools" / tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    output, errors, before, threads = io.StringIO(), io.StringIO(), os.getcwd(), torch.get_num_threads()
    words = mock.patch.object(sys, "argv", [tool, *map(str, arguments)])
    # The lock of a folder is held until the process ends, and this one goes on.
    unlocked = mock.patch.object(setup, "_take", lambda folder: folder.mkdir(parents=True, exist_ok=True))
    os.chdir(folder)
    torch.set_num_threads(1)  # as `start` gives each process; the last bits of a feature depend on it
    try:
        with words, unlocked, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = module.cli()
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    return code, output.getvalue(), errors.getvalue()


def kill_and_resume(folder, *arguments):
    """Train with two workers, killed after the first checkpoint, and then to the end by the same words."""
    process = start("train_net.py", *arguments, "DATALOADER.NUM_WORKERS", 2, folder=folder.parent)
    wait_for(folder / "last_checkpoint", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "model_final.pth").exists()
    code, output, errors = run("train_net.py", *arguments, folder=folder.parent)
    assert code == 0, errors
    assert "going on from" in output


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def same_bits(first, second):
    one, other = weights(first), weights(second)
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]
