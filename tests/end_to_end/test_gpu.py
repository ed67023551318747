"""Training and evaluation on a CUDA device: pytest -m gpu."""

import pytest
import torch
from commands import RESNET, kill_and_resume, metrics, run_here, run_interpreter, same_bits

from fastreid.engine import Predictor
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model

pytestmark = pytest.mark.gpu
MEMORY_FRACTION = 0.002  # of the device's memory: some 160 to 280 MiB


@pytest.fixture
def little_memory():
    """Limit the memory of the process on the device."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(MEMORY_FRACTION)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def without_tf32(monkeypatch):
    """Disable TF32, the default of convolutions on GPUs, so that results are comparable with the CPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize(
    "settings",
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
    ids=["float32", "float16", "fastest"],
)
def test_gpu_run_trains_resumes_and_is_evaluated(settings, drawings, tmp_path):
    arguments = ["--config-file", RESNET, "DATASETS.ROOT", drawings, "MODEL.DEVICE", "cuda", *settings]
    code, output, errors = run_interpreter("train", *arguments, "OUTPUT_DIR", tmp_path / "run", folder=tmp_path)
    assert code == 0, output + errors
    assert "cannot be compiled" not in output
    code, _, errors = run_interpreter("train", "--resume", *arguments, "OUTPUT_DIR", tmp_path / "run", folder=tmp_path)
    assert code == 0, errors
    weights = ["MODEL.WEIGHTS", tmp_path / "run/model_best.pth", "OUTPUT_DIR", "out"]
    code, _, errors = run_interpreter("test", *arguments, *weights, folder=tmp_path)
    assert code == 0, errors


def without_memory(line):
    return {key: value for key, value in line.items() if "memory" not in key}


@pytest.mark.parametrize("amp", [False, True])
def test_killed_deterministic_run_resumes_to_the_same_bits(amp, drawings, tmp_path):
    settings = ["MODEL.DEVICE", "cuda", "DETERMINISTIC", True, "SOLVER.AMP.ENABLED", amp]
    arguments = ["--config-file", RESNET, "DATASETS.ROOT", drawings, *settings, "OUTPUT_DIR"]
    code, _, errors = run_interpreter("train", *arguments, tmp_path / "uninterrupted", folder=tmp_path)
    assert code == 0, errors
    kill_and_resume(tmp_path / "run", "--resume", *arguments, tmp_path / "run", "SOLVER.MAX_EPOCH", 3)
    assert same_bits(tmp_path / "run/model_final.pth", tmp_path / "uninterrupted/model_final.pth")
    expected = [without_memory(line) for line in metrics(tmp_path / "uninterrupted")]
    assert [without_memory(line) for line in metrics(tmp_path / "run")] == expected


def test_gpu_features_equal_cpu_features(without_tf32, drawings, tmp_path):
    settings = ("DATASETS.ROOT", drawings, "MODEL.DEVICE", "cuda", "SOLVER.MAX_EPOCH", 1, "OUTPUT_DIR", "run")
    code, output, errors = run_interpreter("train", "--config-file", RESNET, *settings, folder=tmp_path)
    assert code == 0, output + errors
    weights = tmp_path / "run/model_final.pth"
    (images,) = drawings.glob("generated-*/train_data/patent_data")
    paths = sorted(images.rglob("*.png"))[:20]
    options = ["DATASETS.ROOT", str(drawings), "MODEL.DEVICE"]
    on_cpu = Predictor.from_config(RESNET, weights, [*options, "cpu"])(paths)
    on_gpu = Predictor.from_config(RESNET, weights, [*options, "cuda"])(paths)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)


def test_too_large_batch_is_halved_until_it_fits(without_tf32, little_memory):
    model = build_model(load_config(RESNET), num_classes=8).cuda()
    images = torch.rand(96, 3, 128, 128, device="cuda") * 255
    with eval_mode(model):
        parts = torch.cat([compute_features(model, part) for part in images.split(8)])
        torch.testing.assert_close(compute_features(model, images), parts, rtol=1e-3, atol=1e-3)


def test_batch_size_is_found_by_filling_the_gpu(little_memory, drawings, tmp_path):
    arguments = (
        "--config-file",
        RESNET,
        "DATASETS.ROOT",
        drawings,
        "MODEL.DEVICE",
        "cuda",
        "INPUT.SIZE_TRAIN",
        "[160,160]",
    )
    code, output, errors = run_here("batch-size", "--steps", 1, *arguments, folder=tmp_path)
    assert code in (0, 2), errors
    assert "do not fit" in output
    assert "Traceback" not in errors
