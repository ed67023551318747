"""Learning rate and weight decay of each parameter match fast-reid."""

import json
from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer

REPOSITORY = Path(__file__).parents[2]
CASES = json.loads((Path(__file__).parent / "param_groups.json").read_text())
CONFIGS = {
    "cfg256": ("configs/patent/sbs_R101-ibn_patent_256.yml", []),
    "cfg384": ("configs/patent/sbs_R101-ibn_patent_384.yml", []),
    "R50x_biaslr2_headslr10_wdn0": (
        "configs/patent/sbs_R101-ibn_patent_256.yml",
        [
            "MODEL.BACKBONE.DEPTH",
            "50x",
            "SOLVER.BIAS_LR_FACTOR",
            2,
            "SOLVER.HEADS_LR_FACTOR",
            10,
            "SOLVER.WEIGHT_DECAY_NORM",
            0,
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_learning_rate_and_weight_decay_of_each_parameter(name):
    file, options = CONFIGS[name]
    cfg = get_cfg()
    cfg.merge_from_file(REPOSITORY / file)
    cfg.merge_from_list(options)
    model = build_model(cfg, num_classes=10)
    groups = build_optimizer(cfg, model).param_groups
    actual = {n: (group["lr"], group["weight_decay"]) for group in groups for n in group["names"]}
    expected = {n: (lr, decay) for n, lr, decay, _ in CASES[name]["params"]}
    assert actual.keys() == expected.keys()
    assert {n: rates for n, rates in actual.items() if rates != pytest.approx(expected[n], rel=1e-12)} == {}
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == CASES[name]["not_optimised"]
    freeze = cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS
    assert freeze == (CASES[name]["freeze_layers"], CASES[name]["freeze_iters"])
