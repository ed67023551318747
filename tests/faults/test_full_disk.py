"""A full disk at any file of a training run keeps the previous file, and the run resumes to the same bits."""

import functools
import random

import pytest
from compare_runs import find_differences, run_trials
from training_runs import read_errors, run_training

from fastreid.utils.checksums import verify_checksum

# A file that cannot be written, and from which time on.
WRITERS = [
    ("model_final.pth", 1),
    ("last_checkpoint", 2),
    ("model_0000.pth", 1),
    ("model_0001.pth", 1),
    ("model_0001.pth.sha256", 1),
    ("model_best.pth", 1),
    ("model_best.pth.sha256", 1),
    ("resume_order", 2),
    ("config.yaml", 1),
]


def check_full_disk(folder, index, *, writers, root, uninterrupted):
    """Train with a full disk for one file and resume; return the problems, or an empty list."""
    name, times = writers[index]
    code = run_training(folder, stages=["one"], root=root, full=name, full_after=times)
    line = read_errors(folder)[
        -1
    ]  # the thread of TensorBoard, which has the same limit, may have written an error before
    if code != 5 or f"{name}: cannot be written" not in line or "free " not in line:
        return name, code, line
    for path in (folder / "one").glob("*.pth"):
        verify_checksum(path)
    names = (folder / "one/resume_order").read_text().split() if (folder / "one/resume_order").exists() else []
    if not all((folder / "one" / kept).exists() for kept in names):
        return name, names
    code = run_training(folder, stages=["one"], root=root)
    return find_differences(folder, uninterrupted(0)[0], ["one"]) if code == 0 else read_errors(folder)


@pytest.mark.parametrize(
    ("num", "num_parallel"),
    [(2, 1), pytest.param(len(WRITERS), 2, marks=[pytest.mark.faults, pytest.mark.timeout(900)])],
)
def test_full_disk_keeps_the_previous_file_and_resumes(num, num_parallel, drawings, uninterrupted, tmp_path):
    uninterrupted(0)
    task = functools.partial(check_full_disk, writers=WRITERS, root=drawings, uninterrupted=uninterrupted)
    faults = [fault for fault in run_trials(task, num, folder=tmp_path, num_parallel=num_parallel) if fault]
    print(f"\nR4 (training) {num - len(faults)}/{num}")
    assert faults == []


@pytest.mark.parametrize("num", [1, pytest.param(10, marks=[pytest.mark.faults, pytest.mark.timeout(900)])])
def test_unwritable_log_is_reported_once_and_training_continues(num, drawings, uninterrupted, tmp_path):
    """The log, the metrics and the events are on a full device from a random iteration on."""
    for index in range(num):
        folder = tmp_path / str(index)
        code = run_training(folder, stages=["one"], root=drawings, logs_full_at=random.Random(index).randint(2, 11))
        assert code == 0, read_errors(folder)
        differences = find_differences(folder, uninterrupted(0)[0], ["one"])
        assert differences == ["one/metrics.json"]
        output = (folder / "output").read_text() + (folder / "errors").read_text()
        assert [
            output.count(f"{name}: cannot be written") for name in ("metrics.json", "log.txt", "events in one")
        ] == [
            1,
            1,
            1,
        ]
    print(f"\nR4 (logs) {num}/{num}")


def test_unwritable_metrics_table_is_reported_once(drawings, uninterrupted, tmp_path):
    code = run_training(tmp_path / "run", stages=["one"], root=drawings, full="metrics.csv")
    assert code == 0, read_errors(tmp_path / "run")
    assert find_differences(tmp_path / "run", uninterrupted(0)[0], ["one"]) == []
    output = (tmp_path / "run/output").read_text() + (tmp_path / "run/errors").read_text()
    assert output.count("metrics.csv: cannot be written") == 1
    print("\nR4 (metrics.csv) 1/1")
