"""A process of a run that dies or hangs: the run ends and says so, and leaves none behind."""

import os
import signal
import time
from pathlib import Path

import pytest
from commands import TINY, TORCHRUN, processes_of, start, wait_for

LIMIT_S = 60
HANGING_DISK = Path(__file__).with_name("hanging_disk.py")
TWO = ("--num-gpus", 2)
WORKERS = ("DATALOADER.NUM_WORKERS", 2)
IMPATIENT = ("DATALOADER.TIMEOUT_S", 5)


def children(process):
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def workers_of(process):
    """The loading processes of a training process: those that hold no thread of another kind's server."""
    return [child for child in children(process.pid) if b"resource_tracker" not in cmdline(child)]


def cmdline(process):
    return Path(f"/proc/{process}/cmdline").read_bytes()


def left(token):
    """The processes of a run, whoever their parent is by now: those that have its word in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"RUN_OF_A_TEST={token}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def one_of_the_workers(process):
    return workers_of(process)[-1]


def one_of_the_ranks(process):
    return processes_of(process)[-1]


def a_worker_of_a_rank(process):
    return [child for child in children(processes_of(process)[0]) if b"resource_tracker" not in cmdline(child)][-1]


def the_parent(process):
    return process.pid


# The signal and whom it hits, or 0 where the disk hangs; the run; its exit code, and words of its last line.
CASES = {
    "a worker is killed": (signal.SIGKILL, one_of_the_workers, (), WORKERS, 3, "died"),
    "the disk of the workers hangs": (0, one_of_the_workers, (), (*WORKERS, *IMPATIENT), 3, "no batch for 5 s"),
    "a worker of a process of two is killed": (signal.SIGKILL, a_worker_of_a_rank, TWO, WORKERS, 3, "died"),
    "a process of two is killed": (signal.SIGKILL, one_of_the_ranks, TWO, (), 3, "by signal 9"),
    "a process of two that has workers is killed": (signal.SIGKILL, one_of_the_ranks, TWO, WORKERS, 3, "by signal 9"),
    "a process of torchrun is killed": (signal.SIGKILL, one_of_the_ranks, TORCHRUN, (), 1, ""),
    "a run that has workers is killed": (signal.SIGKILL, the_parent, (), WORKERS, -9, ""),
    "the parent of two is killed": (signal.SIGKILL, the_parent, TWO, WORKERS, -9, ""),
}


def tried(name, root, folder):
    """What is wrong with how a run met its fault; "" when nothing is."""
    number, victim, how, settings, code, said = CASES[name]
    launcher, options = (how, ()) if how is TORCHRUN else ((HANGING_DISK,) if number == 0 else (), how)
    endless = ("SOLVER.MAX_EPOCH", 1000, "SOLVER.CHECKPOINT_PERIOD", 1000, "TEST.EVAL_PERIOD", 0)
    words = ("--config-file", TINY, *options, "DATASETS.ROOT", root, "OUTPUT_DIR", folder / "run", *endless, *settings)
    folder.mkdir()
    process = start("train", *words, folder=folder, launcher=launcher, RUN_OF_A_TEST=str(folder))
    wait_for(folder / "run/metrics.json", process)
    begun = time.monotonic()
    if number:
        os.kill(victim(process), number)
    else:
        (folder / "hang").touch()
    _, errors = process.communicate(timeout=LIMIT_S + 30)
    took, line = time.monotonic() - begun, (errors.splitlines() or [""])[-1]
    for _ in range(100):
        if not left(folder):
            break
        time.sleep(0.1)
    wrong = [f"exit code {process.returncode}, not {code}"] * (process.returncode != code)
    wrong += [f"{said!r} is not in {line!r}"] * (said not in line) + [f"{took:.0f} s"] * (took > LIMIT_S)
    orphans = left(folder)
    for orphan in orphans:
        os.kill(orphan, signal.SIGKILL)
    return "; ".join(wrong + [f"{len(orphans)} orphans"] * bool(orphans))


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_dead_or_stuck_process_is_reported_and_none_is_left(drawings, tmp_path):
    found = {name: tried(name, drawings, tmp_path / str(number)) for number, name in enumerate(CASES)}
    faults = {name: fault for name, fault in found.items() if fault}
    print(f"\nR13 {len(found) - len(faults)}/{len(found)}")
    assert faults == {}
