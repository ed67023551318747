"""A run in bfloat16, in parts: exact after a stop, tested in bfloat16 too."""

import signal

import pytest
import torch
from commands import TINY, metrics, run, run_here, same_bits, start, wait_for

from fastreid.engine import Predictor

NARROW = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16", "SOLVER.GRAD_ACCUM_STEPS", 2)


@pytest.fixture(scope="module")
def narrow(drawings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    code, output, errors = run_here("train", *words(drawings, folder / "run"), folder=folder)
    assert code == 0, output + errors
    return folder / "run"


def words(drawings, folder):
    return ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder, *NARROW)


def test_a_run_in_bfloat16_learns_and_is_not_that_of_float32(narrow, trained):
    scores = [line["mAP"] for line in metrics(narrow) if "mAP" in line]
    assert scores[0] < scores[-1]
    assert abs(scores[-1] - metrics(trained)[-1]["mAP"]) < 10
    assert not same_bits(narrow / "model_final.pth", trained / "model_final.pth")
    state = torch.load(narrow / "model_final.pth", weights_only=True)["model"]
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}


@pytest.mark.slow
def test_a_run_in_bfloat16_that_was_stopped_ends_with_the_same_bits(narrow, drawings, tmp_path):
    process = start("train", *words(drawings, tmp_path / "run"), folder=tmp_path)
    wait_for(tmp_path / "run/metrics.json", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    code, _, errors = run("train", "--resume", *words(drawings, tmp_path / "run"), folder=tmp_path)
    assert code == 0, errors
    assert same_bits(narrow / "model_final.pth", tmp_path / "run/model_final.pth")
    assert metrics(narrow) == metrics(tmp_path / "run")


def test_features_in_bfloat16_are_near_those_of_float32(narrow, drawings, trained):
    paths = sorted(drawings.rglob("*.png"))[:20]
    options = ["DATASETS.ROOT", str(drawings), "TEST.NETWORK_PRECISION"]
    exact, near = (
        Predictor.from_config(TINY, trained / "model_final.pth", [*options, kind])(paths)
        for kind in ("float32", "bfloat16")
    )
    assert not torch.equal(near, exact)
    assert torch.nn.functional.cosine_similarity(near, exact).min() > 0.999


def test_features_saved_in_another_kind_of_number_are_made_anew(drawings, trained, tmp_path):
    extract = ("extract", "--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "out")
    weights = ("MODEL.WEIGHTS", trained / "model_final.pth")
    for kind, told in (("float32", "wrote"), ("bfloat16", "wrote"), ("bfloat16", "already up to date")):
        code, output, errors = run_here(*extract, *weights, "TEST.NETWORK_PRECISION", kind, folder=tmp_path)
        assert code == 0, errors
        assert told in output


def test_parts_of_less_than_two_drawings_are_refused_before_the_first_step(drawings, tmp_path):
    many = ("--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "SOLVER.GRAD_ACCUM_STEPS", 9)
    code, _, errors = run_here("train", *many, folder=tmp_path)
    assert (code, errors.count("\n")) == (2, 1)
    assert "SOLVER.GRAD_ACCUM_STEPS is 9 and a device has 16 drawings per iteration, but a micro-batch" in errors
    assert "a micro-batch needs at least 2" in errors
