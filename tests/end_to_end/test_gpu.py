"""The same runs on a CUDA device: pytest -m gpu."""

import pytest
import torch
from commands import TINY, run

from fastreid.engine import Predictor

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("amp", [False, True])
def test_a_run_on_the_gpu_trains_stops_and_is_tested(amp, drawings, tmp_path):
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "MODEL.DEVICE", "cuda", "SOLVER.AMP.ENABLED", amp]
    code, output, errors = run("train_net.py", *arguments, "OUTPUT_DIR", tmp_path / "run", folder=tmp_path)
    assert code == 0, output + errors
    code, _, errors = run("train_net.py", "--resume", *arguments, "OUTPUT_DIR", tmp_path / "run", folder=tmp_path)
    assert code == 0, errors
    weights = ["MODEL.WEIGHTS", tmp_path / "run/model_best.pth", "OUTPUT_DIR", "out"]
    code, _, errors = run("test.py", *arguments, *weights, folder=tmp_path)
    assert code == 0, errors


def test_features_on_the_gpu_are_those_of_the_cpu(drawings, trained):
    (images,) = drawings.glob("generated-*/train_data/patent_data")
    paths = sorted(images.rglob("*.png"))[:20]
    options = ["DATASETS.ROOT", str(drawings), "MODEL.DEVICE"]
    on_cpu = Predictor.from_config(TINY, trained / "model_best.pth", [*options, "cpu"])(paths)
    on_gpu = Predictor.from_config(TINY, trained / "model_best.pth", [*options, "cuda"])(paths)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)
