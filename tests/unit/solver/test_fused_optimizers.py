import pytest
import torch

from fastreid.solver.build import create_optimizer
from fastreid.solver.fused_optimizers import add_fused_flag, keep_fused_flags
from fastreid.utils.errors import InputError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def parameters():
    generator = torch.Generator().manual_seed(0)
    shapes = ((8, 3, 3, 3), (8,), (5, 8))
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def build_optimizer(name, fused, **arguments):
    weights = parameters()
    group = {"params": weights, "lr": 0.01, "base_lr": 0.01, "weight_decay": 5e-4}
    return weights, create_optimizer(name, [group], {**arguments, "fused": True} if fused else arguments)


def run_steps(weights, optimizer, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Adam", {}), ("AdamW", {"amsgrad": True}), ("SGD", {"momentum": 0.9, "nesterov": True}), ("Adagrad", {})],
)
def test_fused_and_default_optimizer_agree(name, arguments):
    (plain, one), (fused, other) = (
        build_optimizer(name, False, **arguments),
        build_optimizer(name, True, **arguments),
    )
    assert (one.param_groups[0]["fused"], other.param_groups[0]["fused"]) == (None, True)
    run_steps(plain, one, range(20))
    run_steps(fused, other, range(20))
    for expected, weight in zip(plain, fused):
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_resume_uses_the_new_fused_setting(before, after):
    full, one = build_optimizer("Adam", before)
    run_steps(full, one, range(6))
    first, saved = build_optimizer("Adam", before)
    run_steps(first, saved, range(3))
    second, other = build_optimizer("Adam", after)
    with torch.no_grad():
        for weight, value in zip(second, first):
            weight.copy_(value)
    other.load_state_dict(keep_fused_flags(saved.state_dict(), other))
    assert other.param_groups[0]["fused"] is (True if after else None)
    run_steps(second, other, range(3, 6))
    if before == after:
        assert all(torch.equal(weight, value) for weight, value in zip(full, second))
    else:
        assert all(torch.allclose(weight, value, atol=1e-6) for weight, value in zip(full, second))


def test_fused_is_the_default_only_on_cuda_if_supported():
    adam, plain = torch.optim.Adam, {"betas": (0.8, 0.9)}
    assert add_fused_flag(adam, plain, device=CPU) == plain
    assert add_fused_flag(adam, plain, device=CUDA) == {**plain, "fused": True}
    assert add_fused_flag(torch.optim.RMSprop, plain, device=CUDA) == plain
    assert add_fused_flag(adam, {"foreach": True}, device=CUDA) == {"foreach": True}
    assert add_fused_flag(adam, {"fused": False}, device=CUDA) == {"fused": False}


def test_incompatible_arguments_raise():
    with pytest.raises(InputError, match=r"OPT_ARGS: Adam does not accept.*foreach"):
        create_optimizer("Adam", [{"params": parameters()}], {"fused": True, "foreach": True})
