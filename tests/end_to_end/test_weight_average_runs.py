"""Training with an average of the weights: evaluation, checkpoints, resume."""

import signal

import pytest
from commands import TINY, metrics, run, run_here, same_bits, start, wait_for


def arguments(drawings, folder, method):
    average = ("SOLVER.AVERAGE.METHOD", method, "SOLVER.AVERAGE.DECAY", 0.8)
    return ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder, *average)


@pytest.mark.parametrize("method", ["ema", "swa"])
def test_average_is_evaluated_and_does_not_change_the_weights(method, drawings, trained, tmp_path):
    code, output, errors = run_here("train", *arguments(drawings, tmp_path / "run", method), folder=tmp_path)
    assert code == 0, errors
    assert "average of the weights" in output
    assert same_bits(tmp_path / "run/model_final.pth", trained / "model_final.pth")
    assert not same_bits(tmp_path / "run/model_final_average.pth", trained / "model_final.pth")
    last = metrics(tmp_path / "run")[-1]
    assert {"mAP", "average/mAP"} <= last.keys()
    assert last["mAP"] == metrics(trained)[-1]["mAP"] != last["average/mAP"]
    weights = ("MODEL.WEIGHTS", tmp_path / "run/model_final_average.pth", "OUTPUT_DIR", "tested")
    code, output, errors = run_here("test", "--config-file", TINY, "DATASETS.ROOT", drawings, *weights, folder=tmp_path)
    assert code == 0, errors
    [line] = [line.split() for line in output.splitlines() if line.startswith("mAP ")]
    assert float(line[1]) == pytest.approx(last["average/mAP"], abs=0.006)


def test_stopped_run_resumes_to_the_same_average(drawings, tmp_path):
    code, _, errors = run_here("train", *arguments(drawings, tmp_path / "uninterrupted", "ema"), folder=tmp_path)
    assert code == 0, errors
    process = start("train", *arguments(drawings, tmp_path / "stopped", "ema"), folder=tmp_path)
    wait_for(tmp_path / "stopped/metrics.json", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    code, _, errors = run("train", "--resume", *arguments(drawings, tmp_path / "stopped", "ema"), folder=tmp_path)
    assert code == 0, errors
    for name in ("model_final_average.pth", "model_best_average.pth"):
        assert same_bits(tmp_path / "uninterrupted" / name, tmp_path / "stopped" / name)


def test_new_run_archives_the_best_average_of_the_folder(drawings, tmp_path):
    short = ("SOLVER.MAX_EPOCH", 1)
    code, _, errors = run_here("train", *arguments(drawings, tmp_path / "run", "ema"), *short, folder=tmp_path)
    assert code == 0, errors
    code, _, errors = run_here("train", *arguments(drawings, tmp_path / "run", "none"), *short, folder=tmp_path)
    assert code == 0, errors
    assert not (tmp_path / "run/model_best_average.pth").exists()
    assert (tmp_path / "run/model_best_average.previous.pth").is_file()


def test_average_that_starts_after_the_last_epoch_is_invalid(drawings, tmp_path):
    late = ("SOLVER.AVERAGE.START_EPOCH", 3)
    code, _, errors = run_here("train", *arguments(drawings, tmp_path / "run", "ema"), *late, folder=tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert "so nothing would be averaged" in errors
