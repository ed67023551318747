import pytest
import torch

from fastreid.engine.step import BadStep, Clip
from fastreid.structures import Batch


def batch_of(value):
    return Batch(torch.full((6, 3, 8, 8), value), torch.arange(6) % 3, torch.arange(6))


def weights(step):
    return [parameter.detach().clone() for parameter in step.model.parameters()]


def test_a_step_moves_the_weights_and_tells_its_losses(toy_step):
    step = toy_step()
    before = weights(step)
    result = step(Batch(torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 3, torch.arange(6)))
    assert any(not torch.equal(old, new) for old, new in zip(before, weights(step)))
    assert result.values["total_loss"] == result.values["loss_cls"] > 0
    assert result.values["grad_norm"] > 0


def test_a_loss_that_is_not_a_number_leaves_the_weights_as_they_were(toy_step):
    step = toy_step()
    before = weights(step)
    with pytest.raises(BadStep, match=r"not a number.*BASE_LR") as fault:
        step(batch_of(float("nan")))
    assert all(torch.equal(old, new) for old, new in zip(before, weights(step)))
    assert fault.value.exit_code == 4


def test_a_gradient_that_is_not_a_number_leaves_the_weights_as_they_were(toy_step):
    step = toy_step()
    before = weights(step)
    step.model.heads.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(BadStep, match="grad_norm"):
        step(batch_of(100.0))
    assert all(torch.equal(old, new) for old, new in zip(before, weights(step)))


def test_clipping_by_norm_bounds_all_gradients_together(toy_step):
    step = toy_step(clip=Clip("norm", 1e-3))
    step(Batch(torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 3, torch.arange(6)))
    norm = torch.nn.utils.get_total_norm([p.grad for p in step.model.parameters()])
    assert norm <= 1e-3 * 1.001


def test_a_frozen_child_keeps_weights_and_statistics(toy_step):
    step = toy_step()
    before = {name: value.clone() for name, value in step.model.backbone.state_dict().items()}
    step.freeze(("backbone",))
    step(batch_of(100.0))
    assert all(torch.equal(value, before[name]) for name, value in step.model.backbone.state_dict().items())
    step.freeze(())
    step(Batch(torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 3, torch.arange(6)))
    assert not torch.equal(step.model.backbone[1].running_mean, before["1.running_mean"])
    assert not torch.equal(step.model.backbone[0].weight, before["0.weight"])
