import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastreid.engine.train_step import MAX_SKIPPED_STEPS, GradientClip, NonFiniteLossError
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


def spoil_drawings(step):
    return batch_of(float("nan"))


def spoil_the_gradient(step):
    step.model.heads.weight.register_hook(lambda gradient: gradient * float("inf"))
    return batch_of(100.0)


@pytest.mark.parametrize(("spoil", "told"), [(spoil_drawings, "loss_cls nan"), (spoil_the_gradient, "grad_norm nan")])
def test_a_step_that_is_not_a_number_leaves_all_as_it_was(spoil, told, toy_step):
    step = toy_step()
    step(random_batch())
    before, optimizer = copy.deepcopy(step.model.state_dict()), copy.deepcopy(step.state_dict())
    batch = spoil(step)
    with pytest.raises(NonFiniteLossError, match=rf"not a number.*{told}.*BASE_LR") as fault:
        step(batch)
    after = step.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert str(step.state_dict()) == str(optimizer)
    assert (fault.value.exit_code, fault.value.batch.rows.tolist()) == (4, batch.rows.tolist())


def overflowing(toy_step, after=None):
    """A step with loss scaling, as float16 has on a GPU, whose gradients overflow."""
    step = toy_step()
    step.scaler = torch.amp.GradScaler("cpu")
    if after is not None:
        step.load_state_dict(after)
    step.overflow = step.model.heads.weight.register_hook(lambda gradient: gradient * float("inf"))
    return step


def test_steps_that_overflow_are_counted_and_twenty_in_a_row_stop_the_run_across_a_stop(toy_step):
    step = overflowing(toy_step)
    before = weights(step)
    counted = [step(random_batch()).values["skipped_steps"] for _ in range(MAX_SKIPPED_STEPS - 1)]
    assert counted == list(range(1, MAX_SKIPPED_STEPS))
    other = overflowing(toy_step, step.state_dict())
    with pytest.raises(NonFiniteLossError, match="20 steps in a row overflowed float16"):
        other(random_batch())
    assert all(torch.equal(old, new) for old, new in zip(before, weights(other)))


def test_a_step_that_does_not_overflow_begins_the_count_of_those_in_a_row_anew(toy_step):
    step = overflowing(toy_step)
    for _ in range(MAX_SKIPPED_STEPS - 1):
        assert step(random_batch()).skipped
    step.overflow.remove()
    assert not step(random_batch()).skipped
    assert step.state_dict()["skipped"] == [MAX_SKIPPED_STEPS - 1, 0]


def test_clipping_by_norm_bounds_all_gradients_together(toy_step):
    step = toy_step(clip=GradientClip("norm", 1e-3))
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


def random_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(6, 3, 8, 8, generator=generator) * 255, torch.arange(6) % 3, torch.arange(6))


@pytest.mark.parametrize("num_parts", [2, 4])
def test_a_batch_in_parts_gives_the_losses_and_gradients_of_the_whole(num_parts, toy_step):
    """While batch norm rests; 4 parts of 6 drawings are not all of one size."""
    whole, parts = toy_step(), toy_step(grad_accum_steps=num_parts)
    for step in (whole, parts):
        step.freeze(("backbone",))
    told, of_parts = (step(random_batch()).values for step in (whole, parts))
    assert of_parts == pytest.approx(told, rel=1e-5)
    for one, other in zip(whole.model.heads.parameters(), parts.model.heads.parameters()):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-7)


def test_training_in_bfloat16_keeps_weights_in_float32_and_losses_near(toy_step):
    plain, narrow = toy_step(), toy_step(dtype=torch.bfloat16)
    told, told_narrow = (step(random_batch()).values for step in (plain, narrow))
    assert told_narrow != told
    assert told_narrow["total_loss"] == pytest.approx(told["total_loss"], rel=2e-2)
    assert {weight.dtype for weight in weights(narrow)} == {torch.float32}
    assert not narrow.scaler.is_enabled()


def test_the_gradient_s_norm_is_told_whole_and_by_part(toy_step):
    step = toy_step()
    values = step(random_batch()).values
    for part in ("backbone", "heads"):
        norm = torch.nn.utils.get_total_norm([p.grad for p in step.model.get_submodule(part).parameters()])
        assert values[f"grad_norm/{part}"] == pytest.approx(norm.item())
    parts = (values["grad_norm/backbone"], values["grad_norm/heads"])
    assert values["grad_norm"] == pytest.approx(sum(norm**2 for norm in parts) ** 0.5)
    assert values["dead_gradients"] == 0


def test_a_part_that_rests_is_not_told_as_dead(toy_step):
    step = toy_step()
    step.freeze(("backbone",))
    values = step(random_batch()).values
    assert "grad_norm/backbone" not in values
    assert values["dead_gradients"] == 0


def test_a_number_beside_the_losses_may_be_missing(toy_step):
    """A batch without two drawings of one patent has no distance of such pairs."""
    step = toy_step()
    inner = step.model.forward

    def forward(*args, **kwargs):
        losses, stats = inner(*args, **kwargs)
        return losses, {**stats, "positive_distance": torch.tensor(float("nan"))}

    step.model.forward = forward
    assert not step(random_batch()).skipped


class Reads(TorchDispatchMode):
    """Counts how often the host asks the device for a number."""

    num = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.num += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_all_that_a_step_tells_comes_in_one_transfer(toy_step, monkeypatch):
    step, lists = toy_step(), []
    step.optimizer = torch.optim.SGD(step.optimizer.param_groups)
    whole = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: lists.append(tensor) or whole(tensor))
    with Reads() as reads:
        values = step(random_batch()).values
    assert (reads.num, len(lists)) == (0, 1)
    assert len(lists[0]) == len(values)


@pytest.mark.parametrize("clip", [None, GradientClip("norm", 1e-3), GradientClip("norm", 1e-3, norm_type=1.0), GradientClip("value", 1e-3)])
def test_clipping_does_not_wait_for_the_device(clip, toy_step):
    """Nor does the rest of the step: what it tells is fetched once, by `tolist`, which this does not count."""
    step = toy_step(clip=clip)
    step.optimizer = torch.optim.Adam(step.model.parameters(), fused=True)  # the plain one counts steps on the host
    with Reads() as reads:
        step(random_batch())
    assert reads.num == 0


@pytest.mark.parametrize("kind", [1.0, 2.0, float("inf")])
def test_clipping_by_norm_gives_the_bits_of_torch_s_own(kind, toy_step):
    plain, clipped = toy_step(), toy_step(clip=GradientClip("norm", 1e-3, norm_type=kind))
    told = plain(random_batch()).values
    assert clipped(random_batch()).values == told
    torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 1e-3, norm_type=kind)
    for one, other in zip(plain.model.parameters(), clipped.model.parameters()):
        assert torch.equal(one.grad, other.grad)


def test_clipping_by_value_bounds_each_number(toy_step):
    step = toy_step(clip=GradientClip("value", 1e-3))
    step(random_batch())
    assert max(p.grad.abs().max() for p in step.model.parameters()) == pytest.approx(1e-3)


def test_a_step_that_was_saved_unfused_goes_on_fused(toy_step):
    plain, fused = toy_step(), toy_step()
    fused.optimizer = torch.optim.Adam([{"params": list(fused.model.parameters()), "lr": 0.01}], fused=True)
    plain(random_batch())
    fused.load_state_dict(copy.deepcopy(plain.state_dict()))
    fused.model.load_state_dict(plain.model.state_dict())
    assert fused.optimizer.param_groups[0]["fused"] is True
    for step in (plain, fused):
        step(random_batch(1))
    for one, other in zip(weights(plain), weights(fused)):
        torch.testing.assert_close(one, other)
