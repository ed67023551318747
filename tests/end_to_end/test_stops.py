"""Training runs stopped by SIGKILL or SIGTERM at random moments, and resumed."""

import os
import random
import signal

import pytest
from commands import TINY, kill_and_resume, metrics, run, same_bits, start, wait_for, wait_for_random_iteration


def test_killed_run_resumes_to_the_same_bits(drawings, trained, tmp_path):
    arguments = ["--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", tmp_path / "run"]
    kill_and_resume(tmp_path / "run", *arguments)
    assert same_bits(tmp_path / "run" / "model_final.pth", trained / "model_final.pth")
    assert same_bits(tmp_path / "run" / "model_best.pth", trained / "model_best.pth")
    assert metrics(tmp_path / "run") == metrics(trained)


def test_sigterm_to_all_processes_saves_a_checkpoint_to_resume(drawings, trained, tmp_path):
    arguments = ["--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", tmp_path / "run"]
    process = start("train", *arguments, "DATALOADER.NUM_WORKERS", 2, folder=tmp_path, new_session=True)
    wait_for(tmp_path / "run" / "metrics.json", process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, len(errors.splitlines())) == (143, 1), errors
    newest = (tmp_path / "run/last_checkpoint").read_text()  # model_stopped.pth, or that of an epoch that has ended
    assert f"{newest}; continue with --resume" in errors
    code, _, errors = run("train", *arguments, folder=tmp_path)
    assert code == 0, errors
    assert same_bits(tmp_path / "run" / "model_final.pth", trained / "model_final.pth")


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_a_checkpoint(drawings, tmp_path):
    arguments = ["--config-file", TINY, "--num-gpus", 2, "DATASETS.ROOT", drawings, "OUTPUT_DIR", tmp_path / "run"]
    process = start("train", *arguments, "SOLVER.MAX_EPOCH", 50, folder=tmp_path)
    wait_for(tmp_path / "run" / "metrics.json", process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert (tmp_path / "run" / (tmp_path / "run/last_checkpoint").read_text()).exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_random_kills_change_no_bit(drawings, trained, tmp_path):
    arguments = ["--config-file", TINY, "--resume", "DATASETS.ROOT", drawings]
    for seed in range(20):
        folder = tmp_path / str(seed)
        process = start("train", *arguments, "OUTPUT_DIR", folder, folder=tmp_path)
        wait_for_random_iteration(folder, process, random.Random(seed))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        code, _, errors = run("train", *arguments, "OUTPUT_DIR", folder, folder=tmp_path)
        assert code == 0, errors
        for name in ("model_final.pth", "model_best.pth"):
            assert same_bits(folder / name, trained / name)
        assert metrics(folder) == metrics(trained)
