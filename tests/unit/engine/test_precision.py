import pytest
import torch

from fastreid.engine import precision as arithmetic
from fastreid.engine.precision import autocast, inference_dtype, training_dtype, warn_if_dtype_is_slow
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def told(monkeypatch):
    lines = []
    for level in ("info", "warning"):
        monkeypatch.setattr(get_logger(), level, lines.append)
    return lines


def test_float16_trains_on_a_gpu_and_stays_float32_on_a_cpu(told):
    assert training_dtype("float16", GPU) is torch.float16
    assert not told
    assert training_dtype("float16", CPU) is None
    assert "on this one the run is in float32" in told[0]


def test_bfloat16_is_for_any_device_and_one_without_units_is_told(told, monkeypatch):
    monkeypatch.setattr(arithmetic, "has_fast_bfloat16", lambda device: device is GPU)
    assert training_dtype("bfloat16", GPU) is torch.bfloat16
    assert not told
    assert training_dtype("bfloat16", CPU) is torch.bfloat16
    assert "SOLVER.AMP.DTYPE is bfloat16, for which this device has no units" in told[0]


def test_what_is_asked_at_every_evaluation_is_told_once_beforehand(told, monkeypatch):
    monkeypatch.setattr(arithmetic, "has_fast_bfloat16", lambda device: False)
    for _ in range(3):
        assert inference_dtype("bfloat16", CPU) is torch.bfloat16
    assert not told
    warn_if_dtype_is_slow("bfloat16", CPU, setting="TEST.NETWORK_PRECISION")
    assert "TEST.NETWORK_PRECISION is bfloat16, for which this device has no units" in told[0]


def test_features_in_float16_are_for_gpus():
    assert inference_dtype("float16", GPU) is torch.float16
    with pytest.raises(InputError, match="which is for GPUs; take bfloat16 or float32"):
        inference_dtype("float16", CPU)


def test_products_are_of_the_kind_asked_for():
    one = torch.rand(4, 4)
    for dtype, found in ((None, torch.float32), (torch.bfloat16, torch.bfloat16)):
        with autocast(CPU, dtype):
            assert (one @ one).dtype is found
