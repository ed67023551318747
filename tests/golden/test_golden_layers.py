"""Pooling layers, non-local block and IBN match the values and gradients of fast-reid."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.layers import IBN, GeneralizedMeanPooling, NonLocal
from fastreid.modeling.build import POOLING

FOLDER = Path(__file__).parent
DTYPES = {"f32": torch.float32, "f64": torch.float64}
TOLERANCE = {"f32": 1e-5, "f64": 1e-9}


@pytest.fixture(scope="module")
def pools():
    return np.load(FOLDER / "pooling.npz")


@pytest.fixture(scope="module")
def layers():
    return np.load(FOLDER / "layers.npz")


def assert_close(actual, expected, dtype):
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", POOLING.names())
def test_pooling_value_and_gradient(pools, name, dtype):
    pool = POOLING.get(name)().to(DTYPES[dtype])
    x = torch.tensor(pools["x"], dtype=DTYPES[dtype], requires_grad=True)
    out = pool(x)
    assert_close(out, pools[f"{name}__out_{dtype}"], dtype)
    if f"{name}__grad_{dtype}" in pools:
        (out * torch.arange(1.0, 7.0).view(1, 6, 1, 1)).sum().backward()
        assert_close(x.grad, pools[f"{name}__grad_{dtype}"], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_of_the_learned_power(pools, dtype):
    pool = POOLING.get("GeneralizedMeanPoolingP")().to(DTYPES[dtype])
    (pool(torch.tensor(pools["x"], dtype=DTYPES[dtype])) * torch.arange(1.0, 7.0).view(1, 6, 1, 1)).sum().backward()
    assert_close(pool.p.grad, pools[f"GeneralizedMeanPoolingP__pgrad_{dtype}"], dtype)


@pytest.mark.parametrize("power", [1.0, 2.5, 6.0])
def test_generalized_mean_of_other_powers(pools, power):
    out = GeneralizedMeanPooling(power=power).double()(torch.tensor(pools["x"]))
    assert_close(out, pools[f"GeM_p{power}__out_f64"], "f64")


@pytest.mark.parametrize(("name", "build"), [("nonlocal", lambda: NonLocal(8)), ("ibn", lambda: IBN(10))])
def test_block_output_and_running_statistics(layers, name, build):
    block, x = build(), torch.tensor(layers[f"{name}_x"])
    prefix = f"{name}__w__"
    block.load_state_dict(
        {key.removeprefix(prefix): torch.tensor(layers[key]) for key in layers if key.startswith(prefix)}
    )
    block.double()
    assert_close(block.eval()(x), layers[f"{name}_eval"], "f64")
    assert_close(block.train()(x), layers[f"{name}_train"], "f64")
    for key in layers:
        if key.startswith(f"{name}_after__"):
            assert_close(block.get_buffer(key.split("__")[1]), layers[key], "f64")
