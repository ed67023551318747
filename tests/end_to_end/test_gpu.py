"""The same runs on a CUDA device: pytest -m gpu."""

import pytest
import torch
from commands import TINY, kill_and_resume, metrics, run, run_here, same_bits

from fastreid.engine import Predictor
from fastreid.engine.inference import compute_features, eval_mode
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model

pytestmark = pytest.mark.gpu
SMALL_SHARE = 0.002  # of the device's memory: some 160 to 280 MiB


@pytest.fixture
def little_memory():
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(SMALL_SHARE)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def whole_float32(monkeypatch):
    """Convolutions without TF32, which torch has them in on GPUs, so that they can be compared with the CPU's."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize(
    "choices",
    [
        (),
        ("SOLVER.AMP.ENABLED", True, "DATALOADER.NUM_WORKERS", 2),
        (
            "SOLVER.AMP.ENABLED",
            True,
            "SOLVER.AMP.DTYPE",
            "bfloat16",
            "MODEL.COMPILE",
            True,
        ),
    ],
    ids=["float32", "float16", "all_for_speed"],
)
def test_a_run_on_the_gpu_trains_goes_on_and_is_tested(choices, drawings, tmp_path):
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "MODEL.DEVICE", "cuda", *choices]
    code, output, errors = run("train", *arguments, "OUTPUT_DIR", tmp_path / "run", folder=tmp_path)
    assert code == 0, output + errors
    assert "cannot be compiled" not in output
    code, _, errors = run("train", "--resume", *arguments, "OUTPUT_DIR", tmp_path / "run", folder=tmp_path)
    assert code == 0, errors
    weights = ["MODEL.WEIGHTS", tmp_path / "run/model_best.pth", "OUTPUT_DIR", "out"]
    code, _, errors = run("test", *arguments, *weights, folder=tmp_path)
    assert code == 0, errors


@pytest.mark.parametrize("amp", [False, True])
def test_a_deterministic_run_killed_and_resumed_ends_with_the_same_bits(amp, drawings, tmp_path):
    choices = ["MODEL.DEVICE", "cuda", "DETERMINISTIC", True, "SOLVER.AMP.ENABLED", amp]
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, *choices, "OUTPUT_DIR"]
    code, _, errors = run("train", *arguments, tmp_path / "whole", folder=tmp_path)
    assert code == 0, errors
    kill_and_resume(tmp_path / "run", "--resume", *arguments, tmp_path / "run", "SOLVER.MAX_EPOCH", 3)
    assert same_bits(tmp_path / "run/model_final.pth", tmp_path / "whole/model_final.pth")
    told = [{key: of[key] for key in of if "memory" not in key} for of in metrics(tmp_path / "whole")]
    assert [{key: of[key] for key in of if "memory" not in key} for of in metrics(tmp_path / "run")] == told


def test_features_on_the_gpu_are_those_of_the_cpu(whole_float32, drawings, trained):
    (images,) = drawings.glob("generated-*/train_data/patent_data")
    paths = sorted(images.rglob("*.png"))[:20]
    options = ["DATASETS.ROOT", str(drawings), "MODEL.DEVICE"]
    on_cpu = Predictor.from_config(TINY, trained / "model_best.pth", [*options, "cpu"])(paths)
    on_gpu = Predictor.from_config(TINY, trained / "model_best.pth", [*options, "cuda"])(paths)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)


def test_a_batch_too_large_for_the_gpu_is_halved_until_it_fits(whole_float32, little_memory):
    model = build_model(load_config(TINY), num_classes=8).cuda()
    images = torch.rand(96, 3, 128, 128, device="cuda") * 255
    with eval_mode(model):
        parts = torch.cat([compute_features(model, part) for part in images.split(8)])
        torch.testing.assert_close(compute_features(model, images), parts, rtol=1e-3, atol=1e-3)


def test_the_sizes_that_fit_on_the_gpu_are_found_by_filling_it(little_memory, drawings, tmp_path):
    words = ("--config-file", TINY, "DATASETS.ROOT", drawings, "MODEL.DEVICE", "cuda", "INPUT.SIZE_TRAIN", "[160,160]")
    code, output, errors = run_here("batch-size", "--steps", 1, *words, folder=tmp_path)
    assert code in (0, 2), errors
    assert "do not fit" in output
    assert "Traceback" not in errors
