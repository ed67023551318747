"""When a process of a run dies or hangs, the run ends with a message and leaves no process."""

import os
import signal
import time
from pathlib import Path

import pytest
from commands import TINY, TORCHRUN, processes_of, start_interpreter, wait_for

LIMIT_S = 60
HANGING_DISK = Path(__file__).with_name("hanging_disk.py")
TWO = ("--num-gpus", 2)
WORKERS = ("DATALOADER.NUM_WORKERS", 2)
SHORT_TIMEOUT = ("DATALOADER.TIMEOUT_S", 5)


def children(process):
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def workers_of(process):
    """Return the loading workers of a training process: its children except for the resource tracker."""
    return [child for child in children(process.pid) if b"resource_tracker" not in cmdline(child)]


def cmdline(process):
    return Path(f"/proc/{process}/cmdline").read_bytes()


def find_processes(token):
    """Return all processes of a run, by the token in their environment; their parent may have changed."""
    processes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"RUN_OF_A_TEST={token}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                processes.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return processes


def get_worker(process):
    return workers_of(process)[-1]


def get_process(process):
    return processes_of(process)[-1]


def get_worker_of_process(process):
    return [child for child in children(processes_of(process)[0]) if b"resource_tracker" not in cmdline(child)][-1]


def get_parent(process):
    return process.pid


# Signal and function that returns the process it is sent to, or 0 if the disk hangs; options or launcher; settings;
# exit code; part of the last line.
CASES = {
    "a worker is killed": (signal.SIGKILL, get_worker, (), WORKERS, 3, "died"),
    "the disk of the workers hangs": (0, get_worker, (), (*WORKERS, *SHORT_TIMEOUT), 3, "no batch for 5 s"),
    "a worker of a process of two is killed": (signal.SIGKILL, get_worker_of_process, TWO, WORKERS, 3, "died"),
    "a process of two is killed": (signal.SIGKILL, get_process, TWO, (), 3, "by signal 9"),
    "a process of two that has workers is killed": (signal.SIGKILL, get_process, TWO, WORKERS, 3, "by signal 9"),
    "a process of torchrun is killed": (signal.SIGKILL, get_process, TORCHRUN, (), 1, ""),
    "a run that has workers is killed": (signal.SIGKILL, get_parent, (), WORKERS, -9, ""),
    "the parent of two is killed": (signal.SIGKILL, get_parent, TWO, WORKERS, -9, ""),
}


def find_problems(name, root, folder):
    """Cause a fault in a run and return the problems of its end; "" if there are none."""
    signal_number, select, how, settings, code, message = CASES[name]
    launcher, options = (how, ()) if how is TORCHRUN else ((HANGING_DISK,) if signal_number == 0 else (), how)
    long_run = ("SOLVER.MAX_EPOCH", 1000, "SOLVER.CHECKPOINT_PERIOD", 1000, "TEST.EVAL_PERIOD", 0)
    arguments = (
        "--config-file",
        TINY,
        *options,
        "DATASETS.ROOT",
        root,
        "OUTPUT_DIR",
        folder / "run",
        *long_run,
        *settings,
    )
    folder.mkdir()
    process = start_interpreter("train", *arguments, folder=folder, launcher=launcher, RUN_OF_A_TEST=str(folder))
    wait_for(folder / "run/metrics.json", process)
    start = time.monotonic()
    if signal_number:
        os.kill(select(process), signal_number)
    else:
        (folder / "hang").touch()
    _, errors = process.communicate(timeout=LIMIT_S + 30)
    took, line = time.monotonic() - start, (errors.splitlines() or [""])[-1]
    for _ in range(100):
        if not find_processes(folder):
            break
        time.sleep(0.1)
    problems = [f"exit code {process.returncode}, not {code}"] * (process.returncode != code)
    problems += [f"{message!r} is not in {line!r}"] * (message not in line) + [f"{took:.0f} s"] * (took > LIMIT_S)
    orphans = find_processes(folder)
    for orphan in orphans:
        os.kill(orphan, signal.SIGKILL)
    return "; ".join(problems + [f"{len(orphans)} orphans"] * bool(orphans))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_dead_or_hanging_process_ends_the_run(drawings, tmp_path):
    problems = {name: find_problems(name, drawings, tmp_path / str(number)) for number, name in enumerate(CASES)}
    faults = {name: fault for name, fault in problems.items() if fault}
    print(f"\nR13 {len(problems) - len(faults)}/{len(problems)}")
    assert faults == {}
