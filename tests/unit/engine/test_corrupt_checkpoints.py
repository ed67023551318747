"""Every value of a checkpoint that has a wrong type or range is an error that names the file and the key."""

import math

import pytest
import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.resume.data_fingerprint import compute_fingerprint
from fastreid.engine.resume.optimizer_state import find_optimizer_faults
from fastreid.engine.step.weight_average import WeightAverage
from fastreid.structures import SYNTHETIC_PREFIX, Drawing
from fastreid.utils.checksums import checksum_path
from fastreid.utils.errors import WeightsError

TABLE = torch.tensor([[1, 2], [0, 2], [0, 1]], dtype=torch.int32)
DRAWINGS = [Drawing(f"{SYNTHETIC_PREFIX}{row}", f"{row}.png", str(row // 2)) for row in range(4)]
LIST = "the training list"


def build_checkpointer(folder, make_step, make_loop):
    """Return a checkpointer whose step has an average and has been called four times."""
    step = make_step()
    step.average = WeightAverage(step.model, method="ema", decay=0.9, start=0, iters_per_epoch=4)
    make_loop(step=step, max_epochs=1).run()
    data = compute_fingerprint(DRAWINGS, {})
    return Checkpointer(folder, step, iters_per_epoch=4, config="SEED: 0\n", defaults="SEED: 0\n", data=data)


def change(*keys, to):
    """Return a function that replaces one value of a nested checkpoint by `to`, a value or a function of it."""

    def apply(state):
        *path, last = keys
        for key in path:
            state = state[key]
        state[last] = to(state[last]) if callable(to) else to

    return apply


def remove(*keys):
    def apply(state):
        *path, last = keys
        for key in path:
            state = state[key]
        del state[last]

    return apply


def state_of(name, to):
    return change("optimizer", "state", 0, name, to=to)


def group_of(name, to):
    return change("optimizer", "param_groups", 0, name, to=to)


CORRUPTIONS = {
    "iteration is '4'": change("iteration", to="4"),
    "iteration is -5": change("iteration", to=-5),
    "iteration is 1e+30": change("iteration", to=1e30),
    "iteration is 1000000000000000000000000000000,": change("iteration", to=10**30),
    "iteration is True": change("iteration", to=True),
    "iteration is None": change("iteration", to=None),
    "epoch is 5, but after iteration 4": change("epoch", to=5),
    "epoch is '0'": change("epoch", to="0"),
    "best_epoch is 7, which is after epoch 0": change("best_epoch", to=7),
    "best_epoch is -2": change("best_epoch", to=-2),
    "best is nan": change("best", to=math.nan),
    "best is inf": change("best", to=math.inf),
    "best is -3": change("best", to=-3),
    "best is 100.1, not -1 or a score in percent, 0 to 100": change("best", to=100.1),
    "best is -0.5": change("best", to=-0.5),
    "best_average is 'x'": change("best_average", to="x"),
    "best_average is 1e+20": change("best_average", to=1e20),
    "metric is a list of 1": change("metric", to=[1.0]),
    "window is a list of 0": change("window", to=[]),
    "window.lr is 0.1, not a list": change("window", to={"lr": 0.1}),
    "window.lr[1] is nan": change("window", to={"lr": [0.1, math.nan]}),
    "window has the invalid key 3": change("window", to={3: [0.1]}),
    "hard_identities is a list of 1": change("hard_identities", to=[TABLE]),
    "hard_identities has the invalid key 'four'": change("hard_identities", to={"four": TABLE}),
    "hard_identities.4 is a tensor int64 3x2": change("hard_identities", to={4: TABLE.long()}),
    "hard_identities.4 is a tensor int32 3x2": change("hard_identities", to={4: TABLE + 5}),
    "num_bad_evaluations is -1": change("num_bad_evaluations", to=-1),
    "stopped_early is 1": change("stopped_early", to=1),
    "epoch_end_pending is 'no'": change("epoch_end_pending", to="no"),
    "best_models is a list of 0": change("best_models", to=[]),
    "best_models has the invalid key '../../a'": change("best_models", to={"../../a": 1.0}),
    "best_models.model_best_0000_1.00.pth is nan": change("best_models", to={"model_best_0000_1.00.pth": math.nan}),
    "best_models.model_best_0000_1.00.pth is 101": change("best_models", to={"model_best_0000_1.00.pth": 101}),
    "generator is a tensor float32": change("generator", to=lambda value: value.float()),
    "generator is a tensor uint8 10": change("generator", to=lambda value: value[:10]),
    "generator is a tensor uint8": change("generator", to=torch.zeros_like),
    "generator is 0": change("generator", to=0),
    "config is 7": change("config", to=7),
    "model is a tensor": change("model", to=torch.zeros(3)),
    "model.extra is 'weights'": change("model", to=lambda value: {**value, "extra": "weights"}),
    "unknown to the model": change("model", to=lambda value: {**value, "extra": torch.zeros(1)}),
    "model missing": remove("model"),
    "optimizer is 0": change("optimizer", to=0),
    "optimizer.state is a list": change("optimizer", "state", to=[]),
    "optimizer.state is missing": remove("optimizer", "state"),
    "optimizer.param_groups is a dict": change("optimizer", "param_groups", to={}),
    "optimizer.param_groups[0] is 3": change("optimizer", "param_groups", to=[3]),
    "optimizer.param_groups[0].params is missing": remove("optimizer", "param_groups", 0, "params"),
    "optimizer.param_groups contains a parameter twice": group_of("params", lambda value: [0] * len(value)),
    "optimizer.param_groups[0].lr is nan": group_of("lr", math.nan),
    "optimizer.param_groups[0].lr is -1": group_of("lr", -1.0),
    "optimizer.param_groups[0].betas is a tuple of 2": group_of("betas", (0.5, 0.5)),
    "optimizer.param_groups[0].weight_decay is '0'": group_of("weight_decay", "0"),
    "optimizer.param_groups[0].base_lr is missing": remove("optimizer", "param_groups", 0, "base_lr"),
    "optimizer.state[0].exp_avg is a tensor float32 7": state_of("exp_avg", torch.zeros(7)),
    "optimizer.state[0].exp_avg is 0.0": state_of("exp_avg", 0.0),
    "optimizer.state[0].exp_avg_sq contains NaN": state_of("exp_avg_sq", lambda value: value * math.nan),
    "optimizer.state[0].step is a tensor float32 2": state_of("step", torch.zeros(2)),
    "optimizer.state[0].step is -3": state_of("step", torch.tensor(-3.0)),
    "optimizer.state[0] has the values ['exp_avg', 'step'],": remove("optimizer", "state", 0, "exp_avg_sq"),
    "optimizer.state[99] belongs to no parameter": change(
        "optimizer", "state", to=lambda value: {**value, 99: value[0]}
    ),
    "scaler is a list": change("scaler", to=[]),
    "scaler.scale is 0.0": change("scaler", to={"scale": 0.0}),
    "scaler.scale is 'much'": change("scaler", to={"scale": "much"}),
    "skipped is 3": change("skipped", to=3),
    "skipped is a list of 1": change("skipped", to=[1]),
    "skipped is a list of 2, not two numbers": change("skipped", to=[1, 2]),
    "average is missing": remove("average"),
    "average is a tensor": change("average", to=torch.zeros(1)),
    "average.num_steps is 'all'": change("average", "num_steps", to="all"),
    "average.model.heads.weight is a tensor float32 2": change("average", "model", "heads.weight", to=torch.zeros(2)),
    "average.model.heads.weight contains NaN": change("average", "model", "heads.weight", to=lambda w: w * math.nan),
    "average.model.heads.weight is missing": remove("average", "model", "heads.weight"),
    "data is 'none'": change("data", to="none"),
    "data.lists is missing": remove("data", "lists"),
    f"data.lists.{LIST}.names is a tensor float32": change("data", "lists", LIST, "names", to=torch.zeros(4)),
    f"data.lists.{LIST} is a dict of 5, not a record of vectors of one length": change(
        "data", "lists", LIST, "sizes", to=lambda value: value[:2]
    ),
    f"data.lists.{LIST}.times is 'now'": change("data", "lists", LIST, "times", to="now"),
    f"data.lists.{LIST}.samples[0] is 1": change("data", "lists", LIST, "samples", to=[1]),
    "data.labels is 7": change("data", "labels", to=7),
}


@pytest.mark.parametrize("fault", CORRUPTIONS)
def test_corrupt_checkpoint_is_an_error_that_names_the_key(fault, make_step, make_loop, tmp_path):
    checkpointer = build_checkpointer(tmp_path, make_step, make_loop)
    path = checkpointer.save("model_0000.pth", Progress(iteration=4, best_epoch=0, metric=1.0, best=2.0))
    state = torch.load(path, weights_only=True)
    CORRUPTIONS[fault](state)
    torch.save(state, path)
    checksum_path(path).unlink()
    with pytest.raises(WeightsError) as caught:
        build_checkpointer(tmp_path, make_step, make_loop).resume()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert fault in message
    assert "\n" not in message


def test_unchanged_checkpoint_has_no_fault(make_step, make_loop, tmp_path):
    progress = Progress(
        iteration=4,
        best_epoch=0,
        metric=1,
        best=2.0,
        window={"lr": [0.1]},
        hard_identities={4: TABLE},
        best_models={"model_best_0000_2.00.pth": 2.0},
    )
    build_checkpointer(tmp_path, make_step, make_loop).save("model_0000.pth", progress)
    assert build_checkpointer(tmp_path, make_step, make_loop).resume().best_models == progress.best_models


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (change("optimizer", "param_groups", to=[]), "optimizer.param_groups has 0 groups, not 1"),
        (group_of("params", [0]), "optimizer.param_groups[0].params has 1 parameters, not "),
    ],
)
def test_checkpoint_with_other_trained_parameters_is_not_called_damaged(
    corrupt, message, make_step, make_loop, tmp_path
):
    path = build_checkpointer(tmp_path, make_step, make_loop).save("model_0000.pth", Progress(iteration=4))
    state = torch.load(path, weights_only=True)
    corrupt(state)
    torch.save(state, path)
    checksum_path(path).unlink()
    with pytest.raises(WeightsError) as caught:
        build_checkpointer(tmp_path, make_step, make_loop).resume()
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "another version of fastreid or timm trained other parameters" in str(caught.value)
    assert f"start a new run with MODEL.WEIGHTS {path}" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_other_format_of_the_fingerprint_is_not_called_damaged(make_step, make_loop, tmp_path, logged_warnings):
    path = build_checkpointer(tmp_path, make_step, make_loop).save("model_0000.pth", Progress(iteration=4))
    state = torch.load(path, weights_only=True)
    state["data"] = {"format": 99, "digests": [1]}
    torch.save(state, path)
    checksum_path(path).unlink()
    assert build_checkpointer(tmp_path, make_step, make_loop).resume().iteration == 4
    assert any("another version of fastreid wrote it" in line for line in logged_warnings)


OPTIMIZERS = {
    "Adadelta": {},
    "Adafactor": {},
    "Adagrad": {},
    "Adam": {"amsgrad": True},
    "Adamax": {},
    "AdamW": {},
    "ASGD": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {},
    "SGD": {"momentum": 0.9},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_of_every_optimizer_is_accepted(name, tmp_path):
    shapes = [(), (4,), (4, 1), (4, 3), (8, 4, 1, 1), (8, 4, 3, 3)]
    parameters = [torch.nn.Parameter(torch.rand(shape)) for shape in shapes]
    optimizer = getattr(torch.optim, name)([{"params": parameters, "lr": 0.1, "base_lr": 0.1}], **OPTIMIZERS[name])
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = -torch.rand_like(parameter)
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    state = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    assert find_optimizer_faults(state, optimizer) == []
    steps = [(number, key) for number in (0, 3) for key in state["state"][number] if key == "step"]
    for number, key in steps:
        changed = {**state, "state": {**state["state"], number: {**state["state"][number], key: torch.tensor(-3.0)}}}
        assert find_optimizer_faults(changed, optimizer) == [
            f"optimizer.state[{number}].step is -3.0, not a finite number of 0 or more"
        ]
    key = next(key for key, value in state["state"][3].items() if torch.is_tensor(value) and value.ndim)
    state["state"][3][key] = torch.zeros(9)
    assert find_optimizer_faults(state, optimizer)[0].startswith(f"optimizer.state[3].{key} is a tensor float32 9")
