import copy
import gc
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastreid.engine.step.train_step import MAX_SKIPPED_STEPS, GradientClip, NonFiniteLossError
from fastreid.structures import Batch


def constant_batch(value):
    return Batch(torch.full((6, 3, 8, 8), value), torch.arange(6) % 3, torch.arange(6))


def copy_weights(step):
    return [parameter.detach().clone() for parameter in step.model.parameters()]


def test_step_updates_weights_and_returns_losses(make_step):
    step = make_step()
    before = copy_weights(step)
    result = step(Batch(torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 3, torch.arange(6)))
    assert any(not torch.equal(old, new) for old, new in zip(before, copy_weights(step)))
    assert result.values["total_loss"] == result.values["loss_cls"] > 0
    assert result.values["grad_norm"] > 0


def nan_batch(step):
    return constant_batch(float("nan"))


def batch_with_infinite_gradient(step):
    step.model.heads.weight.register_hook(lambda gradient: gradient * float("inf"))
    return constant_batch(100.0)


@pytest.mark.parametrize(
    ("make_batch", "message"), [(nan_batch, "loss_cls nan"), (batch_with_infinite_gradient, "grad_norm nan")]
)
def test_nonfinite_step_leaves_the_state_unchanged(make_batch, message, make_step):
    step = make_step()
    step(random_batch())
    before, optimizer = copy.deepcopy(step.model.state_dict()), copy.deepcopy(step.state_dict())
    batch = make_batch(step)
    with pytest.raises(NonFiniteLossError, match=rf"NaN or Inf .*{message}.*BASE_LR") as error:
        step(batch)
    after = step.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert str(step.state_dict()) == str(optimizer)
    assert (error.value.exit_code, error.value.batch.rows.tolist()) == (4, batch.rows.tolist())


def build_overflowing_step(make_step, state=None):
    """Build a step with loss scaling, as float16 uses on a GPU, whose gradients overflow."""
    step = make_step()
    step.scaler = torch.amp.GradScaler("cpu")
    if state is not None:
        step.load_state_dict(state)
    step.overflow = step.model.heads.weight.register_hook(lambda gradient: gradient * float("inf"))
    return step


def test_twenty_overflows_in_a_row_stop_the_run_across_resume(make_step):
    step = build_overflowing_step(make_step)
    before = copy_weights(step)
    counted = [step(random_batch()).values["skipped_steps"] for _ in range(MAX_SKIPPED_STEPS - 1)]
    assert counted == list(range(1, MAX_SKIPPED_STEPS))
    other = build_overflowing_step(make_step, step.state_dict())
    with pytest.raises(NonFiniteLossError, match="float16 overflowed in 20 iterations in a row"):
        other(random_batch())
    assert all(torch.equal(old, new) for old, new in zip(before, copy_weights(other)))


def test_finite_step_resets_the_overflow_count(make_step):
    step = build_overflowing_step(make_step)
    for _ in range(MAX_SKIPPED_STEPS - 1):
        assert step(random_batch()).skipped
    step.overflow.remove()
    assert not step(random_batch()).skipped
    assert step.state_dict()["skipped"] == [MAX_SKIPPED_STEPS - 1, 0]


def test_clipping_by_norm_limits_the_total_norm(make_step):
    step = make_step(clip=GradientClip("norm", 1e-3))
    step(Batch(torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 3, torch.arange(6)))
    norm = torch.nn.utils.get_total_norm([p.grad for p in step.model.parameters()])
    assert norm <= 1e-3 * 1.001


def test_frozen_child_keeps_weights_and_statistics(make_step):
    step = make_step()
    before = {name: value.clone() for name, value in step.model.backbone.state_dict().items()}
    step.freeze(("backbone",))
    step(constant_batch(100.0))
    assert all(torch.equal(value, before[name]) for name, value in step.model.backbone.state_dict().items())
    step.freeze(())
    step(Batch(torch.rand(6, 3, 8, 8) * 255, torch.arange(6) % 3, torch.arange(6)))
    assert not torch.equal(step.model.backbone[1].running_mean, before["1.running_mean"])
    assert not torch.equal(step.model.backbone[0].weight, before["0.weight"])


def random_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(6, 3, 8, 8, generator=generator) * 255, torch.arange(6) % 3, torch.arange(6))


@pytest.mark.parametrize("num_parts", [2, 4])
def test_gradient_accumulation_matches_the_whole_batch(num_parts, make_step):
    """With frozen batch norm; 4 micro-batches of 6 drawings differ in size."""
    whole, parts = make_step(), make_step(grad_accum_steps=num_parts)
    for step in (whole, parts):
        step.freeze(("backbone",))
    expected, values = (step(random_batch()).values for step in (whole, parts))
    assert values == pytest.approx(expected, rel=1e-5)
    for one, other in zip(whole.model.heads.parameters(), parts.model.heads.parameters()):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-7)


def test_bfloat16_training_keeps_float32_weights(make_step):
    plain, narrow = make_step(), make_step(dtype=torch.bfloat16)
    expected, values = (step(random_batch()).values for step in (plain, narrow))
    assert values != expected
    assert values["total_loss"] == pytest.approx(expected["total_loss"], rel=2e-2)
    assert {weight.dtype for weight in copy_weights(narrow)} == {torch.float32}
    assert not narrow.scaler.is_enabled()


def test_gradient_norm_is_returned_in_total_and_per_part(make_step):
    step = make_step()
    values = step(random_batch()).values
    for part in ("backbone", "heads"):
        norm = torch.nn.utils.get_total_norm([p.grad for p in step.model.get_submodule(part).parameters()])
        assert values[f"grad_norm/{part}"] == pytest.approx(norm.item())
    parts = (values["grad_norm/backbone"], values["grad_norm/heads"])
    assert values["grad_norm"] == pytest.approx(sum(norm**2 for norm in parts) ** 0.5)
    assert values["dead_gradients"] == 0


def test_frozen_part_has_no_dead_gradients(make_step):
    step = make_step()
    step.freeze(("backbone",))
    values = step(random_batch()).values
    assert "grad_norm/backbone" not in values
    assert values["dead_gradients"] == 0


def test_statistics_may_be_nan(make_step):
    """A batch without two drawings of one patent has no positive distance."""
    step = make_step()
    inner = step.model.forward

    def forward(*args, **kwargs):
        losses, stats = inner(*args, **kwargs)
        return losses, {**stats, "positive_distance": torch.tensor(float("nan"))}

    step.model.forward = forward
    assert not step(random_batch()).skipped


class CountScalarReads(TorchDispatchMode):
    """Count how often the host reads a scalar from the device."""

    num = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.num += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_step_values_need_one_device_transfer(make_step, monkeypatch):
    step, lists = make_step(), []
    step.optimizer = torch.optim.SGD(step.optimizer.param_groups)
    whole = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: lists.append(tensor) or whole(tensor))
    with CountScalarReads() as reads:
        values = step(random_batch()).values
    assert (reads.num, len(lists)) == (0, 1)
    assert len(lists[0]) == len(values)


@pytest.mark.parametrize(
    "clip", [None, GradientClip("norm", 1e-3), GradientClip("norm", 1e-3, norm_type=1.0), GradientClip("value", 1e-3)]
)
def test_clipping_needs_no_device_sync(clip, make_step):
    """Neither does the rest of the step: its values are fetched once, by `tolist`, which is not counted here."""
    step = make_step(clip=clip)
    step.optimizer = torch.optim.Adam(step.model.parameters(), fused=True)  # the unfused one counts steps on the host
    with CountScalarReads() as reads:
        step(random_batch())
    assert reads.num == 0


@pytest.mark.parametrize("kind", [1.0, 2.0, float("inf")])
def test_clipping_by_norm_equals_torch_exactly(kind, make_step):
    plain, clipped = make_step(), make_step(clip=GradientClip("norm", 1e-3, norm_type=kind))
    expected = plain(random_batch()).values
    assert clipped(random_batch()).values == expected
    torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 1e-3, norm_type=kind)
    for one, other in zip(plain.model.parameters(), clipped.model.parameters()):
        assert torch.equal(one.grad, other.grad)


def test_clipping_by_value_limits_each_element(make_step):
    step = make_step(clip=GradientClip("value", 1e-3))
    step(random_batch())
    assert max(p.grad.abs().max() for p in step.model.parameters()) == pytest.approx(1e-3)


def test_unfused_checkpoint_resumes_with_fused_optimizer(make_step):
    plain, fused = make_step(), make_step()
    fused.optimizer = torch.optim.Adam([{"params": list(fused.model.parameters()), "lr": 0.01}], fused=True)
    plain(random_batch())
    fused.load_state_dict(copy.deepcopy(plain.state_dict()))
    fused.model.load_state_dict(plain.model.state_dict())
    assert fused.optimizer.param_groups[0]["fused"] is True
    for step in (plain, fused):
        step(random_batch(1))
    for one, other in zip(copy_weights(plain), copy_weights(fused)):
        torch.testing.assert_close(one, other)


def test_step_is_freed_without_a_search_for_cycles(make_step):
    gc.disable()
    try:
        step = make_step()
        step(random_batch())
        model = weakref.ref(step.model)
        del step
        assert model() is None
    finally:
        gc.enable()
