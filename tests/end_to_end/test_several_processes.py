"""Runs of several processes: what they train, and what happens when one of them is killed."""

import os
import random
import signal
import time

import pytest
from commands import TINY, TORCHRUN, is_alive, metrics, processes_of, run, same_bits, start_interpreter, wait_for


def test_two_processes_train_one_model(drawings, trained_by_two, tmp_path):
    during = [line for line in metrics(trained_by_two) if "mAP" in line][-1]
    after = ["MODEL.WEIGHTS", trained_by_two / "model_final.pth", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "test"]
    code, output, errors = run("test", "--config-file", TINY, *after, folder=tmp_path)
    assert code == 0, errors
    assert f"{during['mAP']:.2f}" in output


def test_torchrun_s_restart_ends_with_the_same_bits(drawings, trained_by_two, tmp_path):
    killed_and_restarted(0, drawings, trained_by_two, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_kills_at_any_moment_under_torchrun_change_no_bit(drawings, trained_by_two, tmp_path):
    for number in range(10):
        killed_and_restarted(number, drawings, trained_by_two, tmp_path / str(number))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_kills_of_a_process_of_ours_bring_all_down_and_say_so(drawings, tmp_path):
    words = ["DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "SOLVER.MAX_EPOCH", 50, "SOLVER.CHECKPOINT_PERIOD", 50]
    for number in range(10):
        arguments = ["--config-file", TINY, "--num-gpus", 2 + number % 2 * 2, *words, "DATALOADER.NUM_WORKERS", 1]
        process = start_interpreter("train", *arguments, folder=tmp_path)
        left = kill_one(number, process, tmp_path / "run")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 3, errors
        assert "by signal 9); the others were stopped; resume with --resume" in errors.splitlines()[-1]
        assert not any(is_alive(id_) for id_ in left)
        for path in (tmp_path / "run").iterdir():
            path.unlink()


def killed_and_restarted(number, drawings, whole, folder):
    arguments = ["--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder]
    process = start_interpreter("train", *arguments, folder=folder.parent, launcher=(*TORCHRUN, "--max-restarts", "1"))
    kill_one(number, process, folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "exitcode: -9" in errors
    assert same_bits(folder / "model_final.pth", whole / "model_final.pth")
    assert same_bits(folder / "model_best.pth", whole / "model_best.pth")
    assert metrics(folder) == metrics(whole)


def kill_one(number, process, folder):
    """Kill a process of a run at a moment that the number says; the ids of all."""
    chance = random.Random(number)
    wait_for(folder / "metrics.json", process, limit_s=600)
    ids = processes_of(process)
    time.sleep(chance.uniform(0, 4))
    os.kill(chance.choice(ids), signal.SIGKILL)
    return ids
