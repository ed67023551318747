import pytest
import torch
from torch import nn

from fastreid.solver.build import make_optimizer
from fastreid.solver.parameters import ParameterRates, parameter_groups
from fastreid.utils.errors import InputError


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.heads = nn.Linear(4, 2)
        self.fixed = nn.Parameter(torch.zeros(1), requires_grad=False)


RATES = ParameterRates(base_lr=1.0, heads_factor=10, bias_factor=2, weight_decay=0.1, norm_decay=0.01, bias_decay=0.5)


def rates_by_name(model):
    groups = parameter_groups(model, RATES)
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_each_parameter_gets_the_rate_of_its_kind_and_what_is_fixed_gets_none():
    assert rates_by_name(Small()) == {
        "backbone.0.weight": (1.0, 0.1),
        "backbone.0.bias": (2.0, 0.5),
        "backbone.1.weight": (1.0, 0.01),
        "backbone.1.bias": (2.0, 0.5),
        "heads.weight": (10.0, 0.1),
        "heads.bias": (20.0, 0.5),
    }


def test_any_class_of_torch_takes_its_own_arguments():
    optimizer = make_optimizer("AdamW", parameter_groups(Small(), RATES), {"betas": (0.5, 0.6)})
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_an_optimizer_torch_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'Adam'"):
        make_optimizer("Adm", parameter_groups(Small(), RATES), {})


def test_an_argument_the_optimizer_does_not_take_is_refused():
    with pytest.raises(InputError, match=r"OPT_ARGS.*beta"):
        make_optimizer("Adam", parameter_groups(Small(), RATES), {"beta": 1})


def test_an_optimizer_that_an_ordinary_step_cannot_drive_is_refused():
    with pytest.raises(InputError, match="LBFGS asks for the loss several times a step"):
        make_optimizer("LBFGS", parameter_groups(Small(), RATES), {})
