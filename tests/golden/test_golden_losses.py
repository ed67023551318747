"""Losses and margins match the values and gradients of fast-reid, in float32 and float64."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.modeling.build import MARGINS
from fastreid.modeling.losses.circle import CircleLoss
from fastreid.modeling.losses.cosface import CosfaceLoss
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.focal import FocalLoss
from fastreid.modeling.losses.triplet import TripletLoss

FOLDER = Path(__file__).parent
GOLDEN = np.load(FOLDER / "losses.npz")
EDGE = np.load(FOLDER / "losses_edge.npz")
TARGETS = torch.tensor(GOLDEN["targets"])
UNIQUE, ONE_ID = torch.arange(16), torch.zeros(16, dtype=torch.int64)
NAMES = sorted({key.split("__")[0] for key in GOLDEN.files if "__" in key})
DTYPES = {"f32": torch.float32, "f64": torch.float64}
TOLERANCE = {"f32": 1e-5, "f64": 1e-9}


def parse_case(name):
    """Return the function of a golden case, the name of its input and the name of its output."""
    if match := re.fullmatch(r"ce_eps(.*)", name):
        return CrossEntropyLoss(float(match[1])), "logits", "loss"
    if match := re.fullmatch(r"triplet_m(.*)_norm(.)_hard(.)", name):
        return TripletLoss(float(match[1]), norm_feat=match[2] == "1", hard_mining=match[3] == "1"), "emb", "loss"
    if match := re.fullmatch(r"circle_m(.*)_g(.*)", name):
        return CircleLoss(float(match[1]), float(match[2])), "emb", "loss"
    if match := re.fullmatch(r"cosface_m(.*)_g(.*)", name):
        return CosfaceLoss(float(match[1]), float(match[2])), "emb", "loss"
    if match := re.fullmatch(r"focal_a(.*)_g(.*)_(mean|none)", name):
        focal = FocalLoss(float(match[1]), float(match[2]))
        return focal if match[3] == "mean" else focal.loss_per_drawing, "logits", "loss"
    match = re.fullmatch(r"(.*)_s(.*)_m(.*)", name)
    return MARGINS.get(match[1])(scale=float(match[2]), margin=float(match[3])), "cos_logits", "out"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient(name, dtype):
    function, source, output = parse_case(name)
    x = torch.tensor(GOLDEN[source], dtype=DTYPES[dtype], requires_grad=True)
    out = function(x, TARGETS)
    weights = torch.cos(torch.arange(out.numel(), dtype=x.dtype)).view_as(out) if output == "out" else 1
    (out * weights).sum().backward()
    for actual, expected in (
        (out.detach(), GOLDEN[f"{name}__{output}_{dtype}"]),
        (x.grad, GOLDEN[f"{name}__grad_{dtype}"]),
    ):
        np.testing.assert_allclose(
            actual.numpy(), expected, rtol=0, atol=TOLERANCE[dtype] * max(np.abs(expected).max(), 0.1)
        )


@pytest.mark.parametrize(
    ("name", "loss", "targets"),
    [
        ("triplet_allunique_hard0", TripletLoss(0.0), UNIQUE),
        ("triplet_allunique_hard1", TripletLoss(0.0, hard_mining=True), UNIQUE),
        ("triplet_allsame_hard1", TripletLoss(0.0, hard_mining=True), ONE_ID),
        ("circle_allunique", CircleLoss(), UNIQUE),
        ("circle_allsame", CircleLoss(), ONE_ID),
    ],
)
def test_batches_without_positives_or_negatives(name, loss, targets):
    assert loss(torch.tensor(EDGE["emb"]), targets).item() == pytest.approx(float(EDGE[name]), rel=1e-9, abs=1e-12)


def test_equal_features():
    x = torch.tensor(EDGE["dup_emb"], requires_grad=True)
    loss = TripletLoss(0.0, hard_mining=True)(x, torch.arange(4).repeat_interleave(4))
    loss.backward()
    assert loss.item() == pytest.approx(float(EDGE["triplet_dup_loss"]), rel=1e-9)
    np.testing.assert_allclose(x.grad.numpy(), EDGE["triplet_dup_grad"], rtol=0, atol=1e-12)
