"""Pools, non-local block and IBN give the reference's numbers, values and gradients."""

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


def close(found, wanted, kind):
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=0, atol=TOLERANCE[kind] * scale)


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("name", POOLING.names())
def test_a_pool_gives_the_golden_value_and_gradient(pools, name, kind):
    pool = POOLING.get(name)().to(DTYPES[kind])
    x = torch.tensor(pools["x"], dtype=DTYPES[kind], requires_grad=True)
    out = pool(x)
    close(out, pools[f"{name}__out_{kind}"], kind)
    if f"{name}__grad_{kind}" in pools:
        (out * torch.arange(1.0, 7.0).view(1, 6, 1, 1)).sum().backward()
        close(x.grad, pools[f"{name}__grad_{kind}"], kind)


@pytest.mark.parametrize("kind", DTYPES)
def test_the_learnt_power_gets_the_golden_gradient(pools, kind):
    pool = POOLING.get("GeneralizedMeanPoolingP")().to(DTYPES[kind])
    (pool(torch.tensor(pools["x"], dtype=DTYPES[kind])) * torch.arange(1.0, 7.0).view(1, 6, 1, 1)).sum().backward()
    close(pool.p.grad, pools[f"GeneralizedMeanPoolingP__pgrad_{kind}"], kind)


@pytest.mark.parametrize("power", [1.0, 2.5, 6.0])
def test_generalised_means_of_other_powers_are_golden(pools, power):
    out = GeneralizedMeanPooling(power=power).double()(torch.tensor(pools["x"]))
    close(out, pools[f"GeM_p{power}__out_f64"], "f64")


@pytest.mark.parametrize(("name", "make"), [("nonlocal", lambda: NonLocal(8)), ("ibn", lambda: IBN(10))])
def test_a_block_with_the_golden_weights_gives_the_golden_maps_and_statistics(layers, name, make):
    block, x = make(), torch.tensor(layers[f"{name}_x"])
    mark = f"{name}__w__"
    block.load_state_dict({key[len(mark) :]: torch.tensor(layers[key]) for key in layers if key.startswith(mark)})
    block.double()
    close(block.eval()(x), layers[f"{name}_eval"], "f64")
    close(block.train()(x), layers[f"{name}_train"], "f64")
    for key in layers:
        if key.startswith(f"{name}_after__"):
            close(block.get_buffer(key.split("__")[1]), layers[key], "f64")
