import pytest
import torch

from fastreid.layers import GeneralizedMeanPooling, GeneralizedMeanPoolingP, GlobalMaxPool
from fastreid.utils.errors import InputError


def test_only_the_learned_power_is_in_the_state_dict():
    assert list(GeneralizedMeanPoolingP().state_dict()) == ["p"]
    assert list(GeneralizedMeanPooling().state_dict()) == []


@pytest.mark.parametrize("power", [20.0, 100.0])
def test_large_power_does_not_overflow_or_underflow(power):
    pool = GeneralizedMeanPoolingP(power=power)
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 1, 1] = 1000.0
    maps.requires_grad_()
    out = pool(maps)
    out.sum().backward()
    assert out[0, 0].item() == pytest.approx(1000 * (1 / 9) ** (1 / power), rel=1e-5)
    assert torch.isfinite(maps.grad).all()
    assert torch.isfinite(pool.p.grad).all()


def test_max_pool_gradient_goes_to_one_position():
    maps = torch.ones(1, 1, 2, 2, requires_grad=True)
    GlobalMaxPool()(maps).sum().backward()
    assert sorted(maps.grad.flatten().tolist()) == [0, 0, 0, 1]


def test_power_of_zero_raises():
    with pytest.raises(InputError, match="power of generalized-mean pooling must be above 0, not 0"):
        GeneralizedMeanPooling(power=0)


def test_gradient_of_the_learned_power_equals_finite_differences():
    maps = torch.linspace(0.1, 2, 2 * 3 * 4 * 4, dtype=torch.float64).view(2, 3, 4, 4)
    pool = GeneralizedMeanPoolingP(power=3.0).double()
    assert torch.autograd.gradcheck(lambda power: torch.func.functional_call(pool, {"p": power}, (maps,)), (pool.p,))
