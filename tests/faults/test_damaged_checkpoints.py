"""Checkpoints that were damaged on the disk: never read as if they were whole."""

import random
import shutil

import pytest
from compare_runs import find_differences
from training_runs import build_checkpointer, read_errors, run_training

from fastreid.engine.checkpoint import Progress
from fastreid.modeling.weights import read_weights
from fastreid.utils.errors import InputError, WeightsError


def flip_a_bit(path, chance):
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut(path, chance):
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def spoil_a_block(path, chance):
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    end = min(start + 512, len(data))
    data[start:end] = bytes(255 - byte for byte in data[start:end])
    path.write_bytes(data)


def lose(path, chance):
    path.unlink()


DAMAGE = [flip_a_bit, cut, spoil_a_block, lose]


@pytest.mark.parametrize("num", [100, pytest.param(10_000, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])])
def test_no_damaged_file_is_read(num, tmp_path):
    path, chance, num_read = build_checkpointer(tmp_path).save("model_best.pth", Progress()), random.Random(0), 0
    whole = path.read_bytes()
    for number in range(num):
        path.write_bytes(whole)
        DAMAGE[number % len(DAMAGE)](path, chance)
        try:
            read_weights(path)
            num_read += 1
        except (InputError, WeightsError):
            pass
    print(f"\nR5 (weights): {num} damaged files, {num_read} read")
    assert num_read == 0


def test_a_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before_to_the_same_bits(
    drawings, uninterrupted, tmp_path
):
    whole = uninterrupted(0)[0]
    shutil.copytree(whole / "one", tmp_path / "run/one")
    flip_a_bit(tmp_path / "run/one/model_final.pth", random.Random(0))
    assert run_training(tmp_path / "run", stages=["one"], root=drawings) == 0
    told = (tmp_path / "run/output").read_text()
    assert "one/model_final.pth: damaged or changed" in told
    assert "resuming from one/model_0001.pth after iteration" in told
    assert find_differences(tmp_path / "run", whole, ["one"]) == []


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_keeps_its_files(drawings, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted(0)[0] / "one", tmp_path / "run/one")
    for path in (tmp_path / "run/one").glob("model_*.pth"):
        cut(path, random.Random(0))
    before = sorted((path.name, path.stat().st_size) for path in (tmp_path / "run/one").glob("*.pth"))
    assert run_training(tmp_path / "run", stages=["one"], root=drawings) == 6
    [line] = read_errors(tmp_path / "run")
    assert line.startswith("one: none of its 3 checkpoints can be loaded; the newest: one/model_final.pth: damaged")
    assert sorted((path.name, path.stat().st_size) for path in (tmp_path / "run/one").glob("*.pth")) == before
