"""Runs of two stages that are killed, stopped or get NaN images resume to the bits of an uninterrupted run."""

import collections
import functools
import json
import random
import signal
import time

import pytest
from compare_runs import find_differences, run_trials
from training_runs import read_errors, run_training, start_training

MOMENTS = (  # a kill follows one of these files within a fraction of a run, because a busy machine slows runs down
    "one/last_checkpoint",
    "one/model_0001.pth",
    "one/model_final.pth",
    "two/metrics.json",
    "two/last_checkpoint",
    "two/model_0001.pth",
)


def kill_and_resume(folder, index, *, root, uninterrupted):
    """Kill a run at a random moment and resume it; return the stage of the kill and the differences."""
    rng, workers = random.Random(index), 2 * (index % 2)
    expected, duration_s = uninterrupted(workers)
    exit_code, trial, path = 0, 0, MOMENTS[index // 2 % len(MOMENTS)]
    while exit_code != -signal.SIGKILL:  # again if it had already ended
        process = start_training(folder / str(trial), root=root, workers=workers)
        process.wait_for(folder / str(trial) / path)
        time.sleep(rng.uniform(0, duration_s / len(MOMENTS)))
        run, exit_code, trial = folder / str(trial), process.kill(), trial + 1
    stage = (
        "two" if (run / "two/metrics.json").exists() else "switch" if (run / "one/model_final.pth").exists() else "one"
    )
    code = run_training(run, root=root, workers=workers)
    return stage, find_differences(run, expected) if code == 0 else read_errors(run)


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(2, 1), pytest.param(200, 2, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])]
)
def test_killed_run_resumes_to_the_same_bits(num, num_parallel, drawings, uninterrupted, tmp_path):
    for workers in (0, 2):
        uninterrupted(workers)
    task = functools.partial(kill_and_resume, root=drawings, uninterrupted=uninterrupted)
    results = run_trials(task, num, folder=tmp_path, num_parallel=num_parallel)
    faults = [fault for _, fault in results if fault]
    print(f"\nR1 {num - len(faults)}/{num}", dict(collections.Counter(stage for stage, _ in results)))
    assert faults == []


def stop_and_resume(folder, index, *, root, uninterrupted):
    """Send SIGTERM at a random moment after the first metrics and resume; return the problems."""
    rng, workers = random.Random(index), 2 * (index % 2)
    expected, duration_s = uninterrupted(workers)
    is_over = True
    while is_over:  # again if it was too late to stop
        folder = folder / "again"
        process = start_training(folder, stages=["one"], root=root, workers=workers)
        process.wait_for(folder / "one/metrics.json")
        time.sleep(rng.uniform(0, duration_s / 2))
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        is_over = code in (0, -signal.SIGTERM) and (folder / "one/model_final.pth").exists()
    newest = (folder / "one/last_checkpoint").read_text()  # model_stopped.pth, or that of an epoch that has just ended
    if code != 143 or f"saved one/{newest}; continue with --resume" not in read_errors(folder)[-1]:
        return code, read_errors(folder)
    code = run_training(folder, stages=["one"], root=root, workers=workers)
    return find_differences(folder, expected, ["one"]) if code == 0 else read_errors(folder)


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(1, 1), pytest.param(50, 2, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
def test_stopped_run_resumes_to_the_same_bits(num, num_parallel, drawings, uninterrupted, tmp_path):
    for workers in (0, 2):
        uninterrupted(workers)
    task = functools.partial(stop_and_resume, root=drawings, uninterrupted=uninterrupted)
    faults = [fault for fault in run_trials(task, num, folder=tmp_path, num_parallel=num_parallel) if fault]
    print(f"\nR3 {num - len(faults)}/{num}")
    assert faults == []


def train_with_nan(folder, index, *, root, uninterrupted):
    """Train with NaN images in one iteration, then resume without them; return the problems."""
    step = random.Random(index).randint(1, 12)
    code = run_training(folder, stages=["one"], root=root, nan_at=step)
    report = json.loads((folder / "one/bad_step.json").read_text())
    expected_names = json.loads((folder / "nan.json").read_text())
    [line] = read_errors(folder)
    if (code, report["drawings"], report["values"]["total_loss"]) != (
        4,
        expected_names,
        "nan",
    ) or f"iteration {step}:" not in line:
        return code, report, expected_names, line
    assert "loss_cls nan, loss_triplet nan" in line
    code = run_training(folder, stages=["one"], root=root)
    return find_differences(folder, uninterrupted(0)[0], ["one"]) if code == 0 else read_errors(folder)


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(1, 1), pytest.param(20, 2, marks=[pytest.mark.faults, pytest.mark.timeout(900)])]
)
def test_nan_iteration_is_reported_and_not_saved(num, num_parallel, drawings, uninterrupted, tmp_path):
    uninterrupted(0)
    task = functools.partial(train_with_nan, root=drawings, uninterrupted=uninterrupted)
    faults = [fault for fault in run_trials(task, num, folder=tmp_path, num_parallel=num_parallel) if fault]
    print(f"\nR14 (training) {num - len(faults)}/{num}")
    assert faults == []
