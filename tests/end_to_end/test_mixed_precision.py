"""Training with micro-batches in bfloat16, and features in bfloat16."""

import signal

import pytest
import torch
from commands import TINY, metrics, run, run_here, same_bits, start, wait_for

from fastreid.engine import Predictor

BFLOAT16 = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16", "SOLVER.GRAD_ACCUM_STEPS", 2)


@pytest.fixture(scope="module")
def bfloat16_run(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bfloat16_run")
    code, output, errors = run_here("train", *arguments(drawings, folder / "run"), folder=folder)
    assert code == 0, output + errors
    return folder / "run"


def arguments(drawings, folder):
    return ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder, *BFLOAT16)


def test_bfloat16_run_learns_and_differs_from_float32(bfloat16_run, trained):
    scores = [line["mAP"] for line in metrics(bfloat16_run) if "mAP" in line]
    assert scores[0] < scores[-1]
    assert abs(scores[-1] - metrics(trained)[-1]["mAP"]) < 10
    assert not same_bits(bfloat16_run / "model_final.pth", trained / "model_final.pth")
    state = torch.load(bfloat16_run / "model_final.pth", weights_only=True)["model"]
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.slow
def test_stopped_bfloat16_run_resumes_to_the_same_bits(bfloat16_run, drawings, tmp_path):
    process = start("train", *arguments(drawings, tmp_path / "run"), folder=tmp_path)
    wait_for(tmp_path / "run/metrics.json", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    code, _, errors = run("train", "--resume", *arguments(drawings, tmp_path / "run"), folder=tmp_path)
    assert code == 0, errors
    assert same_bits(bfloat16_run / "model_final.pth", tmp_path / "run/model_final.pth")
    assert metrics(bfloat16_run) == metrics(tmp_path / "run")


def test_bfloat16_features_are_close_to_float32(bfloat16_run, drawings, trained):
    paths = sorted(drawings.rglob("*.png"))[:20]
    options = ["DATASETS.ROOT", str(drawings), "TEST.NETWORK_PRECISION"]
    exact, near = (
        Predictor.from_config(TINY, trained / "model_final.pth", [*options, kind])(paths)
        for kind in ("float32", "bfloat16")
    )
    assert not torch.equal(near, exact)
    assert torch.nn.functional.cosine_similarity(near, exact).min() > 0.999


def test_features_of_another_precision_are_extracted_again(drawings, trained, tmp_path):
    extract = ("extract", "--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out")
    weights = ("MODEL.WEIGHTS", trained / "model_final.pth")
    for precision, message in (("float32", "wrote"), ("bfloat16", "wrote"), ("bfloat16", "already up to date")):
        code, output, errors = run_here(*extract, *weights, "TEST.NETWORK_PRECISION", precision, folder=tmp_path)
        assert code == 0, errors
        assert message in output


def test_micro_batch_of_one_drawing_fails_before_training(drawings, tmp_path):
    many = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "SOLVER.GRAD_ACCUM_STEPS", 9)
    code, _, errors = run_here("train", *many, folder=tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert "SOLVER.GRAD_ACCUM_STEPS is 9 and a device has 16 drawings per iteration, but a micro-batch" in errors
    assert "a micro-batch needs at least 2" in errors
