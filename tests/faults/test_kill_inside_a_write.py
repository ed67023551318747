"""A process killed while it writes leaves the complete old or new file, and a run that can be resumed."""

import random
import time

import pytest
from compare_runs import run_trials
from fork_server import get_server
from training_runs import build_checkpointer

from fastreid.utils.checksums import verify_checksum
from fastreid.utils.files import remove_temporary_files

SIZE = 1_000_000


def kill_writing(folder, index, *, task, waits_for):
    """Kill a process that writes again and again, at a random moment after the first file."""
    folder.mkdir()
    process = get_server().start(f"training_runs:{task}", folder, folder=folder)
    process.wait_for(folder / waits_for)
    time.sleep(random.Random(index).uniform(0, 0.03))
    process.kill()


def is_file_damaged(folder, index):
    kill_writing(folder, index, task="write_files", waits_for="file.bin")
    data = (folder / "file.bin").read_bytes()
    verify_checksum(folder / "file.bin")
    remove_temporary_files(folder)
    names = sorted(path.name for path in folder.iterdir())
    return len(data) != SIZE or len(set(data)) != 1 or names != ["file.bin", "file.bin.sha256"]


def is_checkpoint_damaged(folder, index):
    kill_writing(folder, index, task="save_checkpoints", waits_for="last_checkpoint")
    checkpointer = build_checkpointer(folder)
    progress = checkpointer.resume()
    return progress is None or not (checkpointer.step.model.weight == progress.iteration).all()


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(10, 1), pytest.param(500, 2, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("is_damaged", [is_file_damaged, is_checkpoint_damaged])
def test_kill_inside_a_write_damages_nothing(is_damaged, num, num_parallel, tmp_path):
    damaged = run_trials(is_damaged, num, folder=tmp_path, num_parallel=num_parallel)
    print(f"\nR2 {is_damaged.__name__}: {num} kills, {sum(damaged)} damaged")
    assert sum(damaged) == 0
