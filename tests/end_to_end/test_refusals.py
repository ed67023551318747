"""Wrong starts of the commands: one line on stderr and the right exit code."""

import fcntl
import os

import pytest
from commands import TINY, run

from fastreid.utils.files import write_text


@pytest.mark.parametrize(
    ("tool", "options", "code", "words"),
    [
        ("train_net.py", ["SOLVER.BASE_LRR", "1"], 2, "BASE_LR"),
        ("train_net.py", ["DATASETS.NAMES", "Patnt"], 2, "Did you mean 'Patent'"),
        ("train_net.py", ["SOLVER.IMS_PER_BATCH", "100000"], 2, "IMS_PER_BATCH"),
        ("train_net.py", ["MODEL.DEVICE", "cuda"], 3, "MODEL.DEVICE cpu"),
        ("train_net.py", ["MODEL.WEIGHTS", "nowhere.pth"], 2, "nowhere.pth"),
        ("train_net.py", ["MODEL.FREEZE_LAYERS", "['bckbone']"], 2, "Did you mean 'backbone'"),
        ("test.py", [], 2, "MODEL.WEIGHTS"),
        ("test.py", ["MODEL.WEIGHTS", "torn.pth"], 6, "torn.pth"),
    ],
)
def test_a_wrong_start_is_one_line_and_a_code(tool, options, code, words, drawings, tmp_path):
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out", *options]
    left, output, errors = run(tool, *arguments, folder=tmp_path, CUDA_VISIBLE_DEVICES="")
    assert (left, len(errors.splitlines())) == (code, 1), output + errors
    assert words in errors
    assert not (tmp_path / "result.npy").exists()


def test_a_folder_in_use_is_refused_and_its_owner_named(drawings, tmp_path):
    write_text(tmp_path / "out" / ".lock", "4711")
    handle = os.open(tmp_path / "out" / ".lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("train_net.py", *arguments, folder=tmp_path)
    os.close(handle)
    assert code == 3
    assert "in use by process 4711" in errors


def test_an_untrained_network_is_tested_only_on_insistence(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--random-weights", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("test.py", *arguments, folder=tmp_path)
    assert code == 0, errors
    assert (tmp_path / "result.npy").exists()


def test_a_fault_of_one_process_of_several_is_told_like_that_of_one(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--num-gpus", 2, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out"]
    code, _, errors = run("train_net.py", *arguments, "MODEL.WEIGHTS", "nowhere.pth", folder=tmp_path)
    assert (code, errors.splitlines()[-1]) == (2, "nowhere.pth: no such weights file; check the path")
