import pytest
import torch

from fastreid.engine import precision
from fastreid.engine.precision import autocast, inference_dtype, training_dtype, warn_if_dtype_is_slow
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def log_lines(monkeypatch):
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(get_logger(), level, lines.append)
    return lines


def test_float16_training_falls_back_to_float32_on_cpu(log_lines):
    assert training_dtype("float16", GPU) is torch.float16
    assert not log_lines
    assert training_dtype("float16", CPU) is None
    assert "needs a CUDA device; training in float32 on cpu" in log_lines[0]


def test_slow_bfloat16_training_is_logged(log_lines, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda device: device is GPU)
    assert training_dtype("bfloat16", GPU) is torch.bfloat16
    assert not log_lines
    assert training_dtype("bfloat16", CPU) is torch.bfloat16
    assert "SOLVER.AMP.DTYPE is bfloat16, which this device does not support in hardware" in log_lines[0]


def test_slow_bfloat16_inference_is_not_logged_each_time(log_lines, monkeypatch):
    monkeypatch.setattr(precision, "has_fast_bfloat16", lambda device: False)
    for _ in range(3):
        assert inference_dtype("bfloat16", CPU) is torch.bfloat16
    assert not log_lines
    warn_if_dtype_is_slow("bfloat16", CPU, setting="TEST.NETWORK_PRECISION")
    assert "TEST.NETWORK_PRECISION is bfloat16, which this device does not support in hardware" in log_lines[0]


def test_float16_features_need_a_gpu():
    assert inference_dtype("float16", GPU) is torch.float16
    with pytest.raises(InputError, match="needs a GPU; use bfloat16 or float32"):
        inference_dtype("float16", CPU)


def test_autocast_uses_the_dtype():
    one = torch.rand(4, 4)
    for dtype, expected in ((None, torch.float32), (torch.bfloat16, torch.bfloat16)):
        with autocast(CPU, dtype):
            assert (one @ one).dtype is expected
