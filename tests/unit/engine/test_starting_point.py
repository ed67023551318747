"""L2-SP: the backbone decays towards its start weights."""

from pathlib import Path

import pytest
import tiny_backbone
import torch

from fastreid.engine.build import build_step
from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.setup import load_config
from fastreid.engine.step.starting_point import StartingPointDecay
from fastreid.modeling import build_model
from fastreid.structures import Batch
from fastreid.utils.errors import WeightsError
from fastreid.utils.seeding import keyed_torch_rng

TINY = Path(tiny_backbone.__file__).with_name("tiny.yml")


def make_step(strength, *settings):
    cfg = load_config(TINY, ["SOLVER.L2_SP", str(strength), *settings])
    torch.manual_seed(0)
    return build_step(cfg, build_model(cfg, 4), iters_per_epoch=4)


def train(step, iterations):
    for iteration in iterations:
        with keyed_torch_rng("starting point", iteration):
            images = torch.rand(8, 3, 32, 32) * 255
        step(Batch(images, torch.arange(8) % 4, torch.arange(8)))
    return step


def test_sgd_step_is_that_of_the_penalty_in_the_loss():
    """A plain loop adds the gradient of strength / 2 * |w - w_start|^2."""
    parameters = {name: torch.nn.Parameter(torch.tensor([1.0, 2.0]).double()) for name in ("backbone.a", "heads.b")}
    group = {"params": list(parameters.values()), "names": list(parameters), "lr": 0.1}
    optimizer, decay = torch.optim.SGD([group]), StartingPointDecay(0.5)
    expected = {name: torch.tensor([1.0, 2.0]).double() for name in parameters}
    for iteration in range(5):
        for name, parameter in parameters.items():
            gradient = torch.tensor([iteration + 1.0, -1.0]).double()
            parameter.grad = gradient.clone()
            pull = 0.5 * (expected[name] - torch.tensor([1.0, 2.0])) if name == "backbone.a" else 0
            expected[name] = expected[name] - 0.1 * (gradient + pull)
        decay.apply(optimizer)
        optimizer.step()
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.detach(), expected[name])


def test_distance_shrinks_by_the_learning_rate_times_the_strength():
    parameter = torch.nn.Parameter(torch.tensor([3.0]).double())
    optimizer, decay = (
        torch.optim.SGD([{"params": [parameter], "names": ["backbone.a"], "lr": 0.2}]),
        StartingPointDecay(0.5),
    )
    decay.apply(optimizer)
    assert parameter.item() == 3
    parameter.data += 8
    for _ in range(3):
        decay.apply(optimizer)
    assert parameter.item() == pytest.approx(3 + 8 * 0.9**3, rel=1e-12)


def distance_to_start(step):
    start = dict(make_step(0).model.named_parameters())
    pairs = [(value, start[name]) for name, value in step.model.named_parameters() if name.startswith("backbone.")]
    return sum((value - before).square().sum() for value, before in pairs).item()


def test_training_stays_nearer_to_the_start():
    free, near = (train(make_step(strength, "SOLVER.BASE_LR", "0.01"), range(4)) for strength in (0, 30))
    assert distance_to_start(near) < 0.8 * distance_to_start(free)


def test_backbone_has_no_other_decay():
    groups = make_step(0.1, "SOLVER.WEIGHT_DECAY", "0.3").optimizer.param_groups
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert {value for name, value in decays.items() if name.startswith("backbone.")} == {0}
    assert decays["heads.weight"] == 0.3


def test_resumed_run_has_the_same_bits(tmp_path):
    whole, first = train(make_step(5), range(6)), train(make_step(5), range(4))
    Checkpointer(tmp_path, first, iters_per_epoch=4).save("model_0000.pth", Progress(iteration=4))
    second = make_step(5)
    torch.nn.init.zeros_(second.model.backbone.conv1.weight)  # a resumed run does not load the start weights
    Checkpointer(tmp_path, second, iters_per_epoch=4).resume()
    train(second, range(4, 6))
    expected, actual = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the checkpoint of a step after one iteration."""
    step, folder = train(make_step(5), range(1)), tmp_path_factory.mktemp("saved")
    return Checkpointer(folder, step, iters_per_epoch=1).save("model_0000.pth", Progress(iteration=1))


@pytest.mark.parametrize(
    ("value", "message"),
    [(None, "starting_point is missing"), (torch.zeros(3), r"starting_point\.backbone\.conv1\.weight is a tensor")],
)
def test_damaged_start_weights_are_an_error(value, message, saved, tmp_path):
    state = torch.load(saved, weights_only=True)
    if value is None:
        del state["starting_point"]
    else:
        state["starting_point"]["backbone.conv1.weight"] = value
    torch.save(state, tmp_path / saved.name)
    (tmp_path / "last_checkpoint").write_text(saved.name)
    with pytest.raises(WeightsError, match=message):
        Checkpointer(tmp_path, make_step(5), iters_per_epoch=1).resume()


def test_skipped_update_does_not_move_the_weights(monkeypatch):
    step = train(make_step(30), range(2))
    before = step.model.backbone.conv1.weight.clone()
    monkeypatch.setattr(step.scaler, "is_enabled", lambda: True)
    monkeypatch.setattr(step.scaler, "step", lambda optimizer: None)
    monkeypatch.setattr(step.scaler, "update", lambda: None)
    step.model.heads.weight.register_hook(lambda gradient: gradient * torch.inf)
    train(step, range(2, 3))
    assert torch.equal(step.model.backbone.conv1.weight, before)
