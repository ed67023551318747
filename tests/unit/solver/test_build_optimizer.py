import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.engine.model.network import freeze_unreached_parameters
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer, create_optimizer
from fastreid.solver.layerwise_lr import layerwise_lr_factors
from fastreid.solver.parameter_groups import ParameterRates, build_parameter_groups
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger


class SmallModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.heads = nn.Linear(4, 2)
        self.fixed = nn.Parameter(torch.zeros(1), requires_grad=False)


RATES = ParameterRates(base_lr=1.0, heads_factor=10, bias_factor=2, weight_decay=0.1, norm_decay=0.01, bias_decay=0.5)


def rates_by_name(model):
    groups = build_parameter_groups(model, RATES)
    return {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]}


def test_parameters_get_lr_and_weight_decay_of_their_kind():
    assert rates_by_name(SmallModel()) == {
        "backbone.0.weight": (1.0, 0.1),
        "backbone.0.bias": (2.0, 0.5),
        "backbone.1.weight": (1.0, 0.01),
        "backbone.1.bias": (2.0, 0.5),
        "heads.weight": (10.0, 0.1),
        "heads.bias": (20.0, 0.5),
    }


def test_any_torch_optimizer_accepts_its_arguments():
    optimizer = create_optimizer("AdamW", build_parameter_groups(SmallModel(), RATES), {"betas": (0.5, 0.6)})
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.6)


def test_numbers_in_a_list_of_a_config_file_reach_the_optimizer(tmp_path):
    (tmp_path / "a.yml").write_text("SOLVER: {OPT: Adafactor, OPT_ARGS: {eps: [1e-30, 1e-3]}}\n")
    cfg = get_cfg()
    cfg.merge_from_file(tmp_path / "a.yml")
    optimizer = build_optimizer(cfg, SmallModel())
    assert dict(cfg.SOLVER.OPT_ARGS) == {"eps": (1e-30, 1e-3)}
    assert type(optimizer) is torch.optim.Adafactor
    assert optimizer.param_groups[0]["eps"] == (2**-63, 1e-3)


@pytest.mark.parametrize(("eps1", "used"), [(1e-30, 2**-63), (0, 2**-63), (1e-15, 1e-15), (None, None)])
def test_adafactor_divides_a_gradient_of_zero_by_more_than_zero(eps1, used, caplog):
    model = SmallModel()
    optimizer = create_optimizer("Adafactor", build_parameter_groups(model, RATES), {"eps": [eps1, 1e-3]})
    assert tuple(optimizer.param_groups[0]["eps"]) == (used, 1e-3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert ("the square of" in caplog.text) == (used != eps1)


def test_unknown_optimizer_raises_with_suggestion():
    with pytest.raises(InputError, match="Did you mean 'Adam'"):
        create_optimizer("Adm", build_parameter_groups(SmallModel(), RATES), {})


def test_unknown_optimizer_argument_raises():
    with pytest.raises(InputError, match=r"OPT_ARGS.*beta"):
        create_optimizer("Adam", build_parameter_groups(SmallModel(), RATES), {"beta": 1})


def test_unsupported_optimizer_raises():
    with pytest.raises(InputError, match="LBFGS evaluates the loss several times per step"):
        create_optimizer("LBFGS", build_parameter_groups(SmallModel(), RATES), {})


def build_config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.WITH_NL", True, "SOLVER.BASE_LR", 1.0, *options]
    )
    return cfg


def lr_by_name(cfg):
    model = build_model(cfg, num_classes=3)
    return {name: group["lr"] for group in build_optimizer(cfg, model).param_groups for name in group["names"]}


def test_learning_rate_scales_with_the_batch_size(monkeypatch):
    messages = []
    monkeypatch.setattr(get_logger(), "info", messages.append)
    rates = lr_by_name(
        build_config("SOLVER.LR_REFERENCE_BATCH", 64, "SOLVER.IMS_PER_BATCH", 160, "SOLVER.HEADS_LR_FACTOR", 2)
    )
    assert (rates["backbone.conv1.weight"], rates["heads.weight"]) == (2.5, 5.0)
    assert messages == ["learning rate scaled from 1 (batch size 64) to 2.5 (batch size 160)"]


def test_layer_decay_reduces_lr_towards_the_input():
    rates = lr_by_name(build_config("SOLVER.LAYER_DECAY", 0.5))
    names = ("heads.weight", "backbone.layer4.0.conv1.weight", "backbone.NL_3.0.g.bias", "backbone.layer3.0.bn1.bias")
    assert [rates[name] for name in names] == [1, 0.5, 0.25, 0.25]
    assert [rates[f"backbone.{name}.weight"] for name in ("layer2.3.conv3", "layer1.0.conv1", "conv1", "bn1")] == [
        0.125,
        0.0625,
        0.03125,
        0.03125,
    ]


def test_stage_factor_overrides_the_decay():
    rates = lr_by_name(build_config("SOLVER.LAYER_DECAY", 0.5, "SOLVER.STAGE_FACTORS.stem", "0.75"))
    assert (rates["backbone.conv1.weight"], rates["backbone.layer1.0.conv1.weight"]) == (0.75, 0.0625)


def truncated_lr_by_name(*options):
    """Return the learning rates of a timm network whose last used map is the second of four."""
    network = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", "test_convnext")
    cfg = build_config(*network, "MODEL.BACKBONE.OUT_INDEX", "[1]", "MODEL.DEVICE", "cpu", *options)
    model = build_model(cfg, num_classes=3)
    freeze_unreached_parameters(cfg, model)
    return {name: group["lr"] for group in build_optimizer(cfg, model).param_groups for name in group["names"]}


def test_layer_decay_starts_at_the_last_used_stage():
    rates = truncated_lr_by_name("SOLVER.LAYER_DECAY", 0.5)
    stages = [int(name.split(".")[3]) for name in rates if name.startswith("backbone.body.stages")]
    assert set(stages) == {0, 1}
    assert sorted(set(rates.values())) == [0.0625, 0.125, 0.25, 0.5, 1]
    assert rates["backbone.body.stem.0.weight"] == 0.0625
    with pytest.raises(InputError, match=r"STAGE_FACTORS\.layer4 has no effect: layer4 is behind .* used stage layer3"):
        truncated_lr_by_name("SOLVER.STAGE_FACTORS.layer4", 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("SOLVER.STAGE_FACTORS.layer5", 1), "SOLVER.STAGE_FACTORS 'layer5' is unknown.*Did you mean 'layer"),
        (("SOLVER.STAGE_FACTORS.stem", "slow"), r"STAGE_FACTORS.stem is 'slow'; it must be a number of at least 0"),
        (("SOLVER.STAGE_FACTORS.stem", -1), "it must be a number of at least 0"),
    ],
)
def test_invalid_stage_factors_raise(options, message):
    with pytest.raises(InputError, match=message):
        lr_by_name(build_config(*options))


def test_layer_decay_needs_a_backbone_with_stages():
    with pytest.raises(InputError, match="need a backbone with named stages"):
        layerwise_lr_factors(SmallModel(), decay=0.5)
