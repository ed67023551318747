"""Checkpoints damaged on the disk are never loaded."""

import random
import shutil

import pytest
from compare_runs import find_differences
from training_runs import build_checkpointer, read_errors, run_training

from fastreid.engine.checkpoint.checkpointer import Progress
from fastreid.modeling.weights import read_weights
from fastreid.utils.errors import InputError, WeightsError


def flip_bit(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def truncate(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def invert_block(path, rng):
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    end = min(start + 512, len(data))
    data[start:end] = bytes(255 - byte for byte in data[start:end])
    path.write_bytes(data)


def delete(path, rng):
    path.unlink()


DAMAGE = [flip_bit, truncate, invert_block, delete]


@pytest.mark.parametrize("num", [100, pytest.param(10_000, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])])
def test_damaged_file_is_never_read(num, tmp_path):
    path, rng, num_read = build_checkpointer(tmp_path).save("model_best.pth", Progress()), random.Random(0), 0
    original = path.read_bytes()
    for index in range(num):
        path.write_bytes(original)
        DAMAGE[index % len(DAMAGE)](path, rng)
        try:
            read_weights(path)
            num_read += 1
        except (InputError, WeightsError):
            pass
    print(f"\nR5 (weights): {num} damaged files, {num_read} read")
    assert num_read == 0


def test_damaged_last_checkpoint_resumes_from_the_previous_one(drawings, uninterrupted, tmp_path):
    expected = uninterrupted(0)[0]
    shutil.copytree(expected / "one", tmp_path / "run/one")
    flip_bit(tmp_path / "run/one/model_final.pth", random.Random(0))
    assert run_training(tmp_path / "run", stages=["one"], root=drawings) == 0
    output = (tmp_path / "run/output").read_text()
    assert "one/model_final.pth: damaged or changed" in output
    assert "resuming from one/model_0001.pth after iteration" in output
    assert find_differences(tmp_path / "run", expected, ["one"]) == []


def test_run_with_only_damaged_checkpoints_fails_unchanged(drawings, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted(0)[0] / "one", tmp_path / "run/one")
    for path in (tmp_path / "run/one").glob("model_*.pth"):
        truncate(path, random.Random(0))
    before = sorted((path.name, path.stat().st_size) for path in (tmp_path / "run/one").glob("*.pth"))
    assert run_training(tmp_path / "run", stages=["one"], root=drawings) == 6
    [line] = read_errors(tmp_path / "run")
    assert line.startswith("one: none of its 3 checkpoints can be loaded; the newest: one/model_final.pth: damaged")
    assert sorted((path.name, path.stat().st_size) for path in (tmp_path / "run/one").glob("*.pth")) == before
