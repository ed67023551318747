import pytest
import torch
from torch import nn

from fastreid.layers import IBN, FrozenBatchNorm, GhostBatchNorm, freeze_bias
from fastreid.layers.norm import NORMS
from fastreid.utils.errors import InputError


def maps(num, seed=0):
    return torch.randn(num, 64, 3, 3, generator=torch.Generator().manual_seed(seed)) * 2 + 1


@pytest.mark.parametrize("name", NORMS.names())
def test_every_registered_norm_trains(name):
    out = NORMS.get(name)(64).train()(maps(4))
    assert out.shape == (4, 64, 3, 3)


def test_batch_norms_have_the_same_state_dict_names():
    plain = list(nn.BatchNorm2d(4).state_dict())
    assert all(list(NORMS.get(name)(4).state_dict()) == plain for name in ("syncBN", "FrozenBN", "GhostBN"))


def test_frozen_norm_does_not_change_in_training():
    norm = FrozenBatchNorm(64).train()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(maps(4))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert not any(parameter.requires_grad for parameter in norm.parameters())


def test_ghost_norm_normalizes_each_group_separately():
    ghost, plain, x = GhostBatchNorm(64, ghost_batch_size=4).train(), nn.BatchNorm2d(64).train(), maps(8)
    assert torch.allclose(ghost(x), torch.cat([plain(x[:4]), plain(x[4:])]), atol=1e-6)
    first, second = nn.BatchNorm2d(64).train(), nn.BatchNorm2d(64).train()
    first(x[:4]), second(x[4:])
    assert torch.allclose(ghost.running_var, (first.running_var + second.running_var) / 2, atol=1e-6)
    assert torch.allclose(ghost.running_mean, (first.running_mean + second.running_mean) / 2, atol=1e-6)
    assert ghost.num_batches_tracked == 1


def test_ghost_norm_equals_batch_norm_for_small_batches_and_eval():
    ghost, plain = GhostBatchNorm(64, ghost_batch_size=8), nn.BatchNorm2d(64)
    assert torch.equal(ghost.train()(maps(4)), plain.train()(maps(4)))
    assert torch.equal(ghost.eval()(maps(20)), plain.eval()(maps(20)))


def test_ghost_norm_without_momentum_uses_the_mean():
    ghost, plain = GhostBatchNorm(64, ghost_batch_size=4).train(), nn.BatchNorm2d(64, momentum=None).train()
    ghost.momentum = None
    for seed in range(3):
        ghost(maps(8, seed)), plain(maps(8, seed))
    assert torch.allclose(ghost.running_mean, plain.running_mean, atol=1e-6)
    assert torch.allclose(ghost.running_var, plain.running_var, rtol=0.1)  # variance within groups, not over the batch


def test_ibn_normalizes_half_of_the_channels_per_drawing():
    out = IBN(64).train()(maps(4))
    assert torch.allclose(out[:, :32].mean(dim=(2, 3)), torch.zeros(4, 32), atol=1e-5)
    assert out[:, 32:].mean(dim=(2, 3)).abs().max() > 0.05


def test_ibn_can_be_converted_to_half_precision():
    assert next(IBN(8).half().parameters()).dtype == torch.float16


def test_frozen_bias_is_saved_but_not_trained():
    norm = freeze_bias(nn.BatchNorm2d(4))
    assert "bias" in norm.state_dict()
    assert [name for name, value in norm.named_parameters() if value.requires_grad] == ["weight"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NORMS.get("GN")(48), "multiple of 32 channels, not 48"),
        (lambda: GhostBatchNorm(4, ghost_batch_size=1), "groups of at least 2 drawings, not 1"),
    ],
)
def test_invalid_norms_raise(build, message):
    with pytest.raises(InputError, match=message):
        build()
