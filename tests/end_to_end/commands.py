"""Run commands like a user: in this process, in a forked process, or by a new interpreter."""

import contextlib
import functools
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import tiny_backbone
import torch
from fork_server import REPOSITORY, get_server

from fastreid.cli.main import build_parser
from fastreid.cli.main import main as fastreid_main
from fastreid.engine import setup
from fastreid.utils.cli import run_tool

TINY = REPOSITORY / "tests/end_to_end/tiny.yml"
RESNET = REPOSITORY / "tests/end_to_end/resnet.yml"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
TIMED = {
    "time",
    "data_time",
    "eta_seconds",
    "drawings_per_second",
    "memory_mb",
    "cuda_memory_mb",
}  # metrics that depend on the clock and the machine


build_parser_once = functools.cache(build_parser)


def start(command, *arguments, folder, new_session=False):
    """Start a command in a forked process and return the process.

    Args:
        command: such as "data check", or a script such as "plain_train_net.py".
        arguments: its arguments.
        folder: working folder.
        new_session: whether the process leads a new process group, which a signal can be sent to.
    """
    arguments = (command, list(map(str, arguments)))
    return get_server().start("fork_server:run_command", *arguments, folder=folder, new_session=new_session)


def run(command, *arguments, folder):
    """Run a command in a forked process and return its exit code, output and errors."""
    process = start(command, *arguments, folder=folder)
    return wait(process)


def start_interpreter(command, *arguments, folder, launcher=(), **environment):
    """Start a sub-command of `fastreid` in a new interpreter, as from a shell.

    Args:
        launcher: arguments of Python in front of the command, such as TORCHRUN.
        environment: additional environment variables.
    """
    return subprocess.Popen(
        [sys.executable, *launcher, tiny_backbone.__file__, *command.split(), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_interpreter(command, *arguments, folder, **options):
    """Run a command like `start_interpreter` and return its exit code, output and errors."""
    return wait(start_interpreter(command, *arguments, folder=folder, **options))


def wait(process, *, limit_s=240):
    output, errors = process.communicate(timeout=limit_s)
    return process.returncode, output, errors


def is_short_error(errors):
    """Return whether an error is one line, or a heading per list and one indented line per fault, up to 20."""
    headings = [line for line in errors.splitlines() if not line.startswith("  ")]
    is_list = any(re.search(r": \d+ faults$", line) for line in headings)
    return len(errors.splitlines()) == 1 or (is_list and len(errors.splitlines()) <= 22 * len(headings))


def wait_for(path, process, *, limit_s=120):
    """Wait until a file exists and is not empty, while the process is running."""
    deadline = time.monotonic() + limit_s
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_for_random_iteration(folder, process, rng, *, last=15):
    """Wait until a run has logged a random number of iterations, plus up to 50 ms; a tiny run has 21 iterations."""
    num_iterations = rng.randint(1, last)
    wait_for(folder / "metrics.json", process)
    while (folder / "metrics.json").read_bytes().count(b"\n") < num_iterations:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))


def processes_of(launcher):
    """Return the ids of the training processes started by torchrun, by `run_elastic` or by `launch`."""
    ids = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    commands = {int(id_): Path(f"/proc/{id_}/cmdline").read_text() for id_ in ids}
    return [id_ for id_, command in commands.items() if re.search("\0train\0|spawn_main|fork_server", command)]


def is_alive(id_):
    stat = Path(f"/proc/{id_}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def run_here(command, *arguments, folder):
    """Run a command like `run`, but in this process, which saves the import of torch."""
    main, argv = fastreid_main, ["fastreid", *command.split()]
    if command.endswith(".py"):
        spec = importlib.util.spec_from_file_location(f"tool_{command}", REPOSITORY / "tools" / command)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        main, argv = module.main, [command]
    output, errors, before, threads = io.StringIO(), io.StringIO(), os.getcwd(), torch.get_num_threads()
    arguments = mock.patch.object(sys, "argv", [*argv, *map(str, arguments)])
    # A process keeps the lock of an output folder until it ends, and this one continues.
    unlocked = mock.patch.object(setup, "_lock_folder", lambda folder: folder.mkdir(parents=True, exist_ok=True))
    parser = mock.patch("fastreid.cli.main.build_parser", build_parser_once)  # a third of a command that fails early
    os.chdir(folder)
    torch.set_num_threads(1)  # as in `start`; the last bits of a feature depend on it
    try:
        with arguments, unlocked, parser, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = run_tool(main)
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    return code, output.getvalue(), errors.getvalue()


def call(command, folder, *arguments, code=0, run=run_here, **options):
    """Run a command with the tiny config and return stdout, or stderr if an exit code other than 0 is expected."""
    exit_code, output, errors = run(command, "--config-file", TINY, *arguments, folder=folder, **options)
    assert exit_code == code, output + errors
    assert code == 0 or len(errors.splitlines()) == 1
    return errors if code else output


def kill_and_resume(folder, *arguments):
    """Train with two workers, kill the run after the first checkpoint, and train to the end with the same command."""
    process = start("train", *arguments, "DATALOADER.NUM_WORKERS", 2, folder=folder.parent)
    wait_for(folder / "last_checkpoint", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "model_final.pth").exists()
    code, output, errors = run("train", *arguments, folder=folder.parent)
    assert code == 0, errors
    assert "resuming from" in output


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def same_bits(first, second):
    one, other = weights(first), weights(second)
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]
