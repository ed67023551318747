"""A writer killed at any moment leaves a whole file, the old one or the new one, and a run that can go on."""

import random
import time

import pytest
from compare_runs import each
from run_server import checkpointer

from fastreid.utils.checksums import verify_checksum
from fastreid.utils.files import remove_temporary_files

SIZE = 1_000_000


def kill_writing(nursery, folder, number, *, task, waits_for):
    """Kill what writes for ever into a folder, at a random moment after a first file is there."""
    folder.mkdir()
    process = nursery.fork(task, folder)
    nursery.wait_for(folder / waits_for, process)
    time.sleep(random.Random(number).uniform(0, 0.03))
    nursery.kill(process)


def tear_a_file(nursery, folder, number):
    kill_writing(nursery, folder, number, task="write_files", waits_for="file.bin")
    data = (folder / "file.bin").read_bytes()
    verify_checksum(folder / "file.bin")
    remove_temporary_files(folder)
    left = sorted(path.name for path in folder.iterdir())
    return len(data) != SIZE or len(set(data)) != 1 or left != ["file.bin", "file.bin.sha256"]


def tear_a_checkpoint(nursery, folder, number):
    kill_writing(nursery, folder, number, task="save_checkpoints", waits_for="last_checkpoint")
    keeper = checkpointer(folder)
    progress = keeper.resume()
    return progress is None or not (keeper.step.model.weight == progress.iteration).all()


@pytest.mark.parametrize(
    ("num", "beside"), [(10, 1), pytest.param(500, 2, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
@pytest.mark.parametrize("tear", [tear_a_file, tear_a_checkpoint])
def test_no_kill_inside_a_write_tears_anything(tear, num, beside, nursery, tmp_path):
    torn = each(tear, num, folder=tmp_path, nursery=nursery, beside=beside)
    print(f"\nR2 {tear.__name__}: {num} kills, {sum(torn)} torn")
    assert sum(torn) == 0
