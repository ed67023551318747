"""Losses and margins give the reference's numbers, values and gradients, in both precisions."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid.modeling.build import MARGINS
from fastreid.modeling.losses.circle import CircleLoss, CosfaceLoss
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


def case(name):
    """The function a golden name stands for, its input and what its answer is called."""
    if found := re.fullmatch(r"ce_eps(.*)", name):
        return CrossEntropyLoss(float(found[1])), "logits", "loss"
    if found := re.fullmatch(r"triplet_m(.*)_norm(.)_hard(.)", name):
        return TripletLoss(float(found[1]), norm_feat=found[2] == "1", hard_mining=found[3] == "1"), "emb", "loss"
    if found := re.fullmatch(r"circle_m(.*)_g(.*)", name):
        return CircleLoss(float(found[1]), float(found[2])), "emb", "loss"
    if found := re.fullmatch(r"cosface_m(.*)_g(.*)", name):
        return CosfaceLoss(float(found[1]), float(found[2])), "emb", "loss"
    if found := re.fullmatch(r"focal_a(.*)_g(.*)_(mean|none)", name):
        focal = FocalLoss(float(found[1]), float(found[2]))
        return focal if found[3] == "mean" else focal.each, "logits", "loss"
    found = re.fullmatch(r"(.*)_s(.*)_m(.*)", name)
    return MARGINS.get(found[1])(scale=float(found[2]), margin=float(found[3])), "cos_logits", "out"


@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradient_are_golden(name, kind):
    function, source, answer = case(name)
    x = torch.tensor(GOLDEN[source], dtype=DTYPES[kind], requires_grad=True)
    out = function(x, TARGETS)
    weights = torch.cos(torch.arange(out.numel(), dtype=x.dtype)).view_as(out) if answer == "out" else 1
    (out * weights).sum().backward()
    for found, wanted in ((out.detach(), GOLDEN[f"{name}__{answer}_{kind}"]), (x.grad, GOLDEN[f"{name}__grad_{kind}"])):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=TOLERANCE[kind] * max(np.abs(wanted).max(), 0.1))


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
def test_batches_without_positives_or_negatives_are_golden(name, loss, targets):
    assert loss(torch.tensor(EDGE["emb"]), targets).item() == pytest.approx(float(EDGE[name]), rel=1e-9, abs=1e-12)


def test_drawings_with_the_same_feature_have_the_golden_loss_and_gradient():
    x = torch.tensor(EDGE["dup_emb"], requires_grad=True)
    loss = TripletLoss(0.0, hard_mining=True)(x, torch.arange(4).repeat_interleave(4))
    loss.backward()
    assert loss.item() == pytest.approx(float(EDGE["triplet_dup_loss"]), rel=1e-9)
    np.testing.assert_allclose(x.grad.numpy(), EDGE["triplet_dup_grad"], rtol=0, atol=1e-12)
