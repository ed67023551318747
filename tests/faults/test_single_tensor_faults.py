"""Weights of a whole network in which one tensor is wrong: each is refused, and the network stays as it was."""

import pytest
import torch
from commands import REPOSITORY, TINY

from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.modeling.weights import load_state
from fastreid.utils.errors import WeightsError

LARGE = REPOSITORY / "configs/patent/sbs_R101-ibn_patent_256.yml"


def other_kind(tensor):
    return tensor.long() if tensor.is_floating_point() else tensor.float()


FAULTS = {
    "missing": lambda state, name: {key: tensor for key, tensor in state.items() if key != name},
    "of another shape": lambda state, name: state | {name: torch.zeros(*state[name].shape, 2)},
    "of another kind": lambda state, name: state | {name: other_kind(state[name])},
    "under another name": lambda state, name: {key + "s" * (key == name): state[key] for key in state},
    "not a number": lambda state, name: state | {name: torch.full_like(state[name], torch.nan)},
}


def is_refused(model, state, name):
    """Whether weights are refused by a message that names the tensor."""
    try:
        load_state(model, state)
    except WeightsError as error:
        return name in str(error)
    return False


@pytest.mark.parametrize(
    "config", [TINY, pytest.param(LARGE, marks=[pytest.mark.faults, pytest.mark.timeout(900)])], ids=["18x", "101x"]
)
def test_every_fault_of_a_single_tensor_is_refused(config):
    model = build_model(load_config(config, ["MODEL.BACKBONE.PRETRAIN", "False"]), num_classes=10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    faults = [
        (name, fault)
        for name, tensor in before.items()
        for fault in FAULTS
        if tensor.is_floating_point() or fault != "not a number"
    ]
    loaded = [(name, fault) for name, fault in faults if not is_refused(model, FAULTS[fault](before, name), name)]
    print(f"\nR11 {len(faults) - len(loaded)}/{len(faults)} of {len(before)} tensors")
    assert loaded == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
