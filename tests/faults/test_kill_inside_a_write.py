"""A writer killed at any moment leaves a whole file, the old one or the new one, and a run that can go on."""

import random
import time

import pytest
from compare_runs import run_trials
from fork_server import get_server
from training_runs import build_checkpointer

from fastreid.utils.checksums import verify_checksum
from fastreid.utils.files import remove_temporary_files

SIZE = 1_000_000


def kill_writing(folder, number, *, task, waits_for):
    """Kill what writes for ever into a folder, at a random moment after a first file is there."""
    folder.mkdir()
    process = get_server().start(f"training_runs:{task}", folder, folder=folder)
    process.wait_for(folder / waits_for)
    time.sleep(random.Random(number).uniform(0, 0.03))
    process.kill()


def tear_a_file(folder, number):
    kill_writing(folder, number, task="write_files", waits_for="file.bin")
    data = (folder / "file.bin").read_bytes()
    verify_checksum(folder / "file.bin")
    remove_temporary_files(folder)
    left = sorted(path.name for path in folder.iterdir())
    return len(data) != SIZE or len(set(data)) != 1 or left != ["file.bin", "file.bin.sha256"]


def tear_a_checkpoint(folder, number):
    kill_writing(folder, number, task="save_checkpoints", waits_for="last_checkpoint")
    keeper = build_checkpointer(folder)
    progress = keeper.resume()
    return progress is None or not (keeper.step.model.weight == progress.iteration).all()


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(10, 1), pytest.param(500, 2, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("tear", [tear_a_file, tear_a_checkpoint])
def test_no_kill_inside_a_write_tears_anything(tear, num, num_parallel, tmp_path):
    torn = run_trials(tear, num, folder=tmp_path, num_parallel=num_parallel)
    print(f"\nR2 {tear.__name__}: {num} kills, {sum(torn)} torn")
    assert sum(torn) == 0
