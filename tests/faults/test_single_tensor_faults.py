"""Weights with one invalid tensor are rejected, and the network does not change."""

import pytest
import torch
from commands import REPOSITORY, RESNET

from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.modeling.weights import load_state
from fastreid.utils.errors import WeightsError

LARGE = REPOSITORY / "configs/patent/sbs_R101-ibn_patent_256.yml"


def to_other_dtype(tensor):
    return tensor.long() if tensor.is_floating_point() else tensor.float()


FAULTS = {
    "missing": lambda state, name: {key: tensor for key, tensor in state.items() if key != name},
    "other shape": lambda state, name: state | {name: torch.zeros(*state[name].shape, 2)},
    "other dtype": lambda state, name: state | {name: to_other_dtype(state[name])},
    "other name": lambda state, name: {key + "s" * (key == name): state[key] for key in state},
    "NaN": lambda state, name: state | {name: torch.full_like(state[name], torch.nan)},
}


def is_rejected(model, state, name):
    """Return whether loading weights fails with a message that names the tensor."""
    try:
        load_state(model, state)
    except WeightsError as error:
        return name in str(error)
    return False


LONG = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("config", "step"),
    [(RESNET, 2), pytest.param(RESNET, 1, marks=LONG), pytest.param(LARGE, 1, marks=LONG)],
    ids=["18x-half", "18x", "101x"],
)
def test_every_fault_of_a_single_tensor_is_rejected(config, step):
    """Every fault of every tensor, or every second one of them, so that every tensor has some of the faults."""
    model = build_model(load_config(config, ["MODEL.BACKBONE.PRETRAIN", "False"]), num_classes=10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    faults = [
        (name, fault)
        for row, (name, tensor) in enumerate(before.items())
        for number, fault in enumerate(FAULTS)
        if (tensor.is_floating_point() or fault != "NaN") and (row + number) % step == 0
    ]
    assert {fault for _, fault in faults} == set(FAULTS)
    assert {name for name, _ in faults} == set(before)
    loaded = [(name, fault) for name, fault in faults if not is_rejected(model, FAULTS[fault](before, name), name)]
    print(f"\nR11 {len(faults) - len(loaded)}/{len(faults)} of {len(before)} tensors")
    assert loaded == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
