import pytest
import torch

from fastreid.layers import NonLocal, SqueezeExcitation
from fastreid.layers.attention import linear_attention
from fastreid.utils.errors import InputError


@pytest.mark.parametrize("width", [1, 4])
def test_non_local_block_matches_the_quadratic_form(width):
    theta, phi, g = torch.randn(3, 2, width, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    similarity = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / 20
    quadratic = (similarity @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(2, width, 5, 4)
    assert torch.allclose(linear_attention(theta, phi, g), quadratic, atol=1e-12)


def test_non_local_block_is_initialized_as_identity():
    x = torch.randn(2, 8, 3, 3)
    assert torch.equal(NonLocal(8, 4).train()(x), x)


def test_non_local_block_needs_only_linear_memory():
    maps = torch.ones(1, 1, 400, 400)  # a matrix of all pairs would need 100 GB
    assert torch.allclose(linear_attention(maps, maps, maps), maps)


def test_non_local_block_runs_on_the_meta_device():
    assert NonLocal(8).to("meta")(torch.empty(2, 8, 3, 3, device="meta")).shape == (2, 8, 3, 3)


def test_squeeze_excitation_scales_channels():
    block = SqueezeExcitation(32)
    x = torch.randn(2, 32, 3, 3)
    ratio = block(x) / x
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-5)
    assert [tuple(value.shape) for value in block.state_dict().values()] == [(2, 32), (32, 2)]
    assert list(block.state_dict()) == ["fc.0.weight", "fc.2.weight"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NonLocal(8, 0), "needs a width of 1 to 8, not 0"),
        (lambda: NonLocal(8, 9), "needs a width of 1 to 8, not 9"),
        (lambda: SqueezeExcitation(8), "needs at least 16 channels, not 8"),
    ],
)
def test_invalid_widths_raise(build, message):
    with pytest.raises(InputError, match=message):
        build()
