import pytest
import torch

from fastreid.layers import GeneralizedMeanPooling, GeneralizedMeanPoolingP, GlobalMaxPool
from fastreid.utils.errors import InputError


def test_only_the_learnt_power_is_in_the_checkpoint():
    assert list(GeneralizedMeanPoolingP().state_dict()) == ["p"]
    assert list(GeneralizedMeanPooling().state_dict()) == []


@pytest.mark.parametrize("power", [20.0, 100.0])
def test_a_large_power_neither_overflows_nor_loses_a_silent_channel(power):
    pool = GeneralizedMeanPoolingP(power=power)
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 1, 1] = 1000.0
    maps.requires_grad_()
    out = pool(maps)
    out.sum().backward()
    assert out[0, 0].item() == pytest.approx(1000 * (1 / 9) ** (1 / power), rel=1e-5)
    assert torch.isfinite(maps.grad).all()
    assert torch.isfinite(pool.p.grad).all()


def test_the_maximum_sends_its_gradient_to_one_place():
    maps = torch.ones(1, 1, 2, 2, requires_grad=True)
    GlobalMaxPool()(maps).sum().backward()
    assert sorted(maps.grad.flatten().tolist()) == [0, 0, 0, 1]


def test_a_power_of_zero_is_refused():
    with pytest.raises(InputError, match="above 0, not 0"):
        GeneralizedMeanPooling(power=0)
