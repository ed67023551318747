"""Runs that keep a mean of their weights: scored, kept, exact after a stop, tested."""

import signal

import pytest
from commands import TINY, metrics, run, run_here, same_bits, start, wait_for


def words(drawings, folder, method):
    average = ("SOLVER.AVERAGE.METHOD", method, "SOLVER.AVERAGE.DECAY", 0.8)
    return ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder, *average)


@pytest.mark.parametrize("method", ["ema", "swa"])
def test_a_mean_is_scored_beside_the_weights_and_leaves_them_as_they_are(method, drawings, trained, tmp_path):
    code, output, errors = run_here("train", *words(drawings, tmp_path / "run", method), folder=tmp_path)
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


def test_a_run_that_was_stopped_ends_with_the_same_mean(drawings, tmp_path):
    code, _, errors = run_here("train", *words(drawings, tmp_path / "whole", "ema"), folder=tmp_path)
    assert code == 0, errors
    process = start("train", *words(drawings, tmp_path / "parts", "ema"), folder=tmp_path)
    wait_for(tmp_path / "parts/metrics.json", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    code, _, errors = run("train", "--resume", *words(drawings, tmp_path / "parts", "ema"), folder=tmp_path)
    assert code == 0, errors
    for name in ("model_final_average.pth", "model_best_average.pth"):
        assert same_bits(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_a_new_run_in_a_used_folder_sets_the_best_mean_aside(drawings, tmp_path):
    short = ("SOLVER.MAX_EPOCH", 1)
    code, _, errors = run_here("train", *words(drawings, tmp_path / "run", "ema"), *short, folder=tmp_path)
    assert code == 0, errors
    code, _, errors = run_here("train", *words(drawings, tmp_path / "run", "none"), *short, folder=tmp_path)
    assert code == 0, errors
    assert not (tmp_path / "run/model_best_average.pth").exists()
    assert (tmp_path / "run/model_best_average.previous.pth").is_file()


def test_a_mean_that_would_begin_after_the_end_is_refused(drawings, tmp_path):
    late = ("SOLVER.AVERAGE.START_EPOCH", 3)
    code, _, errors = run_here("train", *words(drawings, tmp_path / "run", "ema"), *late, folder=tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert "so nothing would be averaged" in errors
