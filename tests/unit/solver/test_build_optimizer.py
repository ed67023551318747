import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer, create_optimizer
from fastreid.solver.layerwise_lr import layerwise_lr_factors
from fastreid.solver.parameter_groups import ParameterRates, build_parameter_groups
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.heads = nn.Linear(4, 2)
        self.fixed = nn.Parameter(torch.zeros(1), requires_grad=False)


RATES = ParameterRates(base_lr=1.0, heads_factor=10, bias_factor=2, weight_decay=0.1, norm_decay=0.01, bias_decay=0.5)


def rates_by_name(model):
    groups = build_parameter_groups(model, RATES)
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
    optimizer = create_optimizer("AdamW", build_parameter_groups(Small(), RATES), {"betas": (0.5, 0.6)})
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_an_optimizer_torch_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'Adam'"):
        create_optimizer("Adm", build_parameter_groups(Small(), RATES), {})


def test_an_argument_the_optimizer_does_not_take_is_refused():
    with pytest.raises(InputError, match=r"OPT_ARGS.*beta"):
        create_optimizer("Adam", build_parameter_groups(Small(), RATES), {"beta": 1})


def test_an_optimizer_that_an_ordinary_step_cannot_drive_is_refused():
    with pytest.raises(InputError, match="LBFGS asks for the loss several times a step"):
        create_optimizer("LBFGS", build_parameter_groups(Small(), RATES), {})


def settings(*words):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.WITH_NL", True, "SOLVER.BASE_LR", 1.0, *words])
    return cfg


def lr_by_name(cfg):
    model = build_model(cfg, num_classes=3)
    return {name: group["lr"] for group in build_optimizer(cfg, model).param_groups for name in group["names"]}


def test_the_rate_grows_with_the_batch_where_the_batch_it_is_for_is_told(monkeypatch):
    told = []
    monkeypatch.setattr(get_logger(), "info", told.append)
    rates = lr_by_name(
        settings("SOLVER.LR_REFERENCE_BATCH", 64, "SOLVER.IMS_PER_BATCH", 160, "SOLVER.HEADS_LR_FACTOR", 2)
    )
    assert (rates["backbone.conv1.weight"], rates["heads.weight"]) == (2.5, 5.0)
    assert told == ["learning rate 1 for 64 drawings a step is 2.5 for 160"]


def test_each_stage_moves_less_than_the_one_nearer_to_the_head():
    rates = lr_by_name(settings("SOLVER.LAYER_DECAY", 0.5))
    names = ("heads.weight", "backbone.layer4.0.conv1.weight", "backbone.NL_3.0.g.bias", "backbone.layer3.0.bn1.bias")
    assert [rates[name] for name in names] == [1, 0.5, 0.25, 0.25]
    assert [rates[f"backbone.{name}.weight"] for name in ("layer2.3.conv3", "layer1.0.conv1", "conv1", "bn1")] == [
        0.125,
        0.0625,
        0.03125,
        0.03125,
    ]


def test_a_stage_s_own_factor_counts_instead_of_the_decay():
    rates = lr_by_name(settings("SOLVER.LAYER_DECAY", 0.5, "SOLVER.STAGE_FACTORS.stem", "0.75"))
    assert (rates["backbone.conv1.weight"], rates["backbone.layer1.0.conv1.weight"]) == (0.75, 0.0625)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("SOLVER.STAGE_FACTORS.layer5", 1), "no stage 'layer5'.*Did you mean 'layer"),
        (("SOLVER.STAGE_FACTORS.stem", "slow"), r"STAGE_FACTORS.stem is 'slow'; it takes a number of 0 or more"),
        (("SOLVER.STAGE_FACTORS.stem", -1), "it takes a number of 0 or more"),
    ],
)
def test_factors_that_mean_nothing_are_refused(words, fault):
    with pytest.raises(InputError, match=fault):
        lr_by_name(settings(*words))


def test_a_backbone_that_does_not_tell_its_stages_has_no_rates_by_depth():
    with pytest.raises(InputError, match="a backbone that tells its stages"):
        layerwise_lr_factors(Small(), decay=0.5)
