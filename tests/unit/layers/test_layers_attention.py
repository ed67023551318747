import pytest
import torch

from fastreid.layers import NonLocal, SqueezeExcitation
from fastreid.layers.attention import linear_attention
from fastreid.utils.errors import InputError


@pytest.mark.parametrize("width", [1, 4])
def test_the_non_local_block_equals_its_form_with_the_matrix_of_all_places(width):
    theta, phi, g = torch.randn(3, 2, width, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    likeness = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / 20
    quadratic = (likeness @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(2, width, 5, 4)
    assert torch.allclose(linear_attention(theta, phi, g), quadratic, atol=1e-12)


def test_the_non_local_block_starts_as_the_identity():
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(NonLocal(8, 4).train()(x), x)


def test_the_non_local_block_holds_no_array_of_all_pairs_of_places():
    maps = torch.ones(1, 1, 400, 400)  # 100 GB of pairs, were there any
    assert torch.allclose(linear_attention(maps, maps, maps), maps)


def test_shapes_can_be_worked_out_without_memory():
    assert NonLocal(8).to("meta")(torch.empty(2, 8, 3, 3, device="meta")).shape == (2, 8, 3, 3)


def test_squeeze_excitation_weighs_channels_and_has_the_known_names():
    block = SqueezeExcitation(32)
    x = torch.randn(2, 32, 3, 3)
    ratio = block(x) / x
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-5)
    assert [tuple(value.shape) for value in block.state_dict().values()] == [(2, 32), (32, 2)]
    assert list(block.state_dict()) == ["fc.0.weight", "fc.2.weight"]


@pytest.mark.parametrize("make", [lambda: NonLocal(8, 0), lambda: NonLocal(8, 9), lambda: SqueezeExcitation(8)])
def test_impossible_widths_are_refused(make):
    with pytest.raises(InputError, match="not"):
        make()
