"""Runs of two stages that are killed, stopped or fed with NaN, and end with the bits of a run that was not."""

import collections
import functools
import json
import random
import signal
import time

import pytest
from compare_runs import find_differences, run_trials
from training_runs import read_errors, run_training, start_training

MOMENTS = (  # a kill comes within a share of a run after one of these, as a busy machine stretches a run's seconds
    "one/last_checkpoint",
    "one/model_0001.pth",
    "one/model_final.pth",
    "two/metrics.json",
    "two/last_checkpoint",
    "two/model_0001.pth",
)


def kill_one(folder, number, *, root, uninterrupted):
    """Kill a run at a random moment after its first checkpoint and go on to the end: where it was, what find_differences."""
    chance, workers = random.Random(number), 2 * (number % 2)
    whole, duration_s = uninterrupted(workers)
    killed, moment = 0, MOMENTS[number // 2 % len(MOMENTS)]
    while killed != -signal.SIGKILL:  # again where it had ended before
        process = start_training(folder / str(killed), root=root, workers=workers)
        process.wait_for(folder / str(killed) / moment)
        time.sleep(chance.uniform(0, duration_s / len(MOMENTS)))
        run, killed = folder / str(killed), process.kill()
    where = (
        "two" if (run / "two/metrics.json").exists() else "switch" if (run / "one/model_final.pth").exists() else "one"
    )
    code = run_training(run, root=root, workers=workers)
    return where, find_differences(run, whole) if code == 0 else read_errors(run)


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(2, 1), pytest.param(200, 2, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])]
)
def test_a_run_that_was_killed_ends_with_the_same_bits(num, num_parallel, drawings, uninterrupted, tmp_path):
    for workers in (0, 2):
        uninterrupted(workers)
    task = functools.partial(kill_one, root=drawings, uninterrupted=uninterrupted)
    results = run_trials(task, num, folder=tmp_path, num_parallel=num_parallel)
    faults = [fault for _, fault in results if fault]
    print(f"\nR1 {num - len(faults)}/{num}", dict(collections.Counter(where for where, _ in results)))
    assert faults == []


def stop_one(folder, number, *, root, uninterrupted):
    """Send SIGTERM at a random moment after the first line of the log and go on to the end; what is wrong."""
    chance, workers = random.Random(number), 2 * (number % 2)
    whole, duration_s = uninterrupted(workers)
    is_over = True
    while is_over:  # again where it was too late to stop
        folder = folder / "again"
        process = start_training(folder, stages=["one"], root=root, workers=workers)
        process.wait_for(folder / "one/metrics.json")
        time.sleep(chance.uniform(0, duration_s / 2))
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        is_over = code in (0, -signal.SIGTERM) and (folder / "one/model_final.pth").exists()
    if code != 143 or "saved one/model_stopped.pth; continue with --resume" not in read_errors(folder)[-1]:
        return code, read_errors(folder)
    code = run_training(folder, stages=["one"], root=root, workers=workers)
    return find_differences(folder, whole, ["one"]) if code == 0 else read_errors(folder)


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(1, 1), pytest.param(50, 2, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
def test_a_run_that_was_asked_to_stop_saves_and_ends_with_the_same_bits(
    num, num_parallel, drawings, uninterrupted, tmp_path
):
    for workers in (0, 2):
        uninterrupted(workers)
    task = functools.partial(stop_one, root=drawings, uninterrupted=uninterrupted)
    faults = [fault for fault in run_trials(task, num, folder=tmp_path, num_parallel=num_parallel) if fault]
    print(f"\nR3 {num - len(faults)}/{num}")
    assert faults == []


def spoil_one(folder, number, *, root, uninterrupted):
    """Make one step's drawings NaN; what is wrong with how the run ends, and with how it goes on without."""
    step = random.Random(number).randint(1, 12)
    code = run_training(folder, stages=["one"], root=root, nan_at=step)
    told = json.loads((folder / "one/bad_step.json").read_text())
    named = json.loads((folder / "nan.json").read_text())
    [line] = read_errors(folder)
    if (code, told["drawings"], told["values"]["total_loss"]) != (4, named, "nan") or f"iteration {step}:" not in line:
        return code, told, named, line
    assert "loss_cls nan, loss_triplet nan" in line
    code = run_training(folder, stages=["one"], root=root)
    return find_differences(folder, uninterrupted(0)[0], ["one"]) if code == 0 else read_errors(folder)


@pytest.mark.parametrize(
    ("num", "num_parallel"), [(1, 1), pytest.param(20, 2, marks=[pytest.mark.faults, pytest.mark.timeout(900)])]
)
def test_a_step_that_is_nan_is_told_with_its_drawings_and_reaches_no_file(
    num, num_parallel, drawings, uninterrupted, tmp_path
):
    uninterrupted(0)
    task = functools.partial(spoil_one, root=drawings, uninterrupted=uninterrupted)
    faults = [fault for fault in run_trials(task, num, folder=tmp_path, num_parallel=num_parallel) if fault]
    print(f"\nR14 (training) {num - len(faults)}/{num}")
    assert faults == []
