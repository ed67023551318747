"""The disk space of all checkpoints of a run is computed before its first iteration."""

import os
import re
from unittest import mock

import pytest
from commands import TINY, run_here

from fastreid.engine import run_checks
from fastreid.utils import files, resources

AVERAGE = ("SOLVER.AVERAGE.METHOD", "ema")


def train(drawings, folder, *options):
    return run_here(
        "train",
        "--config-file",
        TINY,
        *options,
        *("DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "TEST.NUM_VISUALIZED_QUERIES", 0),
        folder=folder,
    )


@pytest.fixture
def needed(monkeypatch):
    """Return a list that receives the computed (first, all) bytes of each run."""
    results, compute = [], run_checks.compute_needed_bytes
    monkeypatch.setattr(
        run_checks,
        "compute_needed_bytes",
        lambda *args, **options: results.append(compute(*args, **options)) or results[-1],
    )
    return results


@pytest.fixture
def used(monkeypatch, tmp_path):
    """Return a list that receives the total size of the checkpoints whenever one is complete in its temporary file."""
    results, replace = [], os.replace

    def record(source, target):
        if ".pth" in str(target):
            results.append(sum(path.stat().st_size for path in (tmp_path / "run").iterdir() if ".pth" in path.name))
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", record)
    return results


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("SOLVER.CHECKPOINT_PERIOD", 2),
        (*AVERAGE, "SOLVER.CHECKPOINT_PERIOD", 9),
        ("SOLVER.OPT", "SGD", "TEST.EVAL_PERIOD", 0),
        ("SOLVER.OPT", "SGD", "SOLVER.L2_SP", 0.1, "MODEL.LOSSES.MEMORY.SIZE", 20),
        ("SOLVER.OPT", "Adafactor", "SOLVER.SAVE_TOP_K", 1),
    ],
)
def test_computed_space_is_used(options, drawings, tmp_path, needed, used):
    code, output, errors = train(drawings, tmp_path, *options)
    assert code == 0, errors
    [(first_bytes, all_bytes)] = needed
    assert first_bytes <= all_bytes
    assert 0.75 * all_bytes < max(used) < 1.05 * all_bytes
    if not options:  # three checkpoints before one is removed, each with its checksum
        assert 0.9 * first_bytes < max(used[:6]) < 1.05 * first_bytes
    assert "may not fit" not in output


def test_resumed_and_new_runs_reuse_the_space_of_files_that_they_replace(drawings, tmp_path, needed):
    for options in ((), ("--resume", "SOLVER.MAX_EPOCH", 4), ("SOLVER.MAX_EPOCH", 4)):
        code, _, errors = train(drawings, tmp_path, *options)
        assert code == 0, errors
    first, resumed, repeated = (all_bytes for _, all_bytes in needed)
    assert resumed < first / 2  # the file before the evaluation, and one that is replaced
    assert repeated < first  # model_0000.pth and model_0001.pth exist


def test_disk_that_is_too_small_stops_the_run_before_its_first_iteration(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(run_checks, "find_free_bytes", lambda folder: 300_000)
    code, _, errors = train(drawings, tmp_path)
    assert code == 5
    assert re.fullmatch(
        r"OUTPUT_DIR run: its first checkpoints cannot be written \(10\d,\d{3} bytes each, 32\d,\d{3} bytes needed, "
        r"300,000 bytes free\); free space or choose another folder\n",
        errors,
    ), errors
    assert not (tmp_path / "run/metrics.json").exists()


def test_disk_that_is_too_small_for_a_resumed_run_keeps_its_folder(drawings, tmp_path, monkeypatch):
    assert train(drawings, tmp_path, "SOLVER.MAX_EPOCH", 1)[0] == 0
    monkeypatch.setattr(run_checks, "find_free_bytes", lambda folder: 100)
    code, _, errors = train(drawings, tmp_path, "--resume", "SOLVER.MAX_EPOCH", 2)
    assert code == 5
    assert errors.endswith("100 bytes free); free space\n")


def test_disk_that_is_too_small_for_later_checkpoints_is_a_warning(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(run_checks, "find_free_bytes", lambda folder: 500_000)
    code, output, errors = train(drawings, tmp_path)
    assert code == 0, errors
    [line] = [line for line in output.splitlines() if "may not fit" in line]
    assert re.match(r"OUTPUT_DIR run: all checkpoints of the run need up to 5\d\d,\d{3} bytes ", line), line
    assert line.endswith("; free space, or raise SOLVER.CHECKPOINT_PERIOD 1, which keeps fewer")


def test_disk_of_unknown_size_is_not_checked(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda folder: mock.Mock(total=0, free=0))
    code, _, errors = train(drawings, tmp_path, "SOLVER.MAX_EPOCH", 1)
    assert code == 0, errors
