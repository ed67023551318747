"""Train tiny networks with each kind of problem and check the warnings."""

import itertools

import pytest
import torch
from torch import nn

from fastreid.engine.hooks.diagnostics import RunDiagnostics
from fastreid.engine.step.train_step import TrainStep
from fastreid.engine.train_loop import TrainLoop
from fastreid.layers.pooling import GlobalAvgPool
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.triplet import TripletLoss
from fastreid.monitoring.diagnostics import TrainingDiagnostics
from fastreid.structures import Batch

PERIOD, NUM_CLASSES = 10, 4
CLASSIFICATION_LOSS = LossTerm("loss_cls", CrossEntropyLoss(), "logits")


def triplet_loss(margin=0.0):
    function = TripletLoss(margin, hard_mining=True)
    return LossTerm(
        "loss_triplet",
        function,
        "features",
        2.0,
        stats_fn=function.compute_stats,
        collapse_value=function.collapse_value,
    )


def network(*terms):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    head = EmbeddingHead(8, NUM_CLASSES, pool=GlobalAvgPool())
    return Baseline(backbone, head, terms, pixel_mean=(127.5,) * 3, pixel_std=(64.0,) * 3)


def batches(pattern, noise):
    """Yield batches of 16 drawings of 4 patents: a pattern per patent with noise."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.rand(NUM_CLASSES, 3, 8, 8, generator=generator) * 255
    for _ in itertools.count():
        targets = torch.arange(16) % NUM_CLASSES
        images = pattern * patterns[targets] + noise * torch.rand(16, 3, 8, 8, generator=generator) * 255
        yield Batch(images, targets, torch.arange(16))


@pytest.fixture
def train(logged_warnings):
    """Train with diagnostics and return the warnings and the values of the last step."""

    def train_with_diagnostics(model, data, lr, *, num_steps=60, period=PERIOD):
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": lr}])
        collapse_values = {
            term.key: term.scale * term.collapse_value for term in model.losses if term.collapse_value is not None
        }
        diagnostics = TrainingDiagnostics(
            period=period, collapse_values=collapse_values, num_classes=NUM_CLASSES, iters_per_epoch=5
        )
        reaches_all = any(term.inputs == "logits" for term in model.losses)
        step = TrainStep(model, optimizer, device=torch.device("cpu"), no_unused_parameters=reaches_all)
        hooks = [RunDiagnostics(diagnostics)]
        loop = TrainLoop(step, data, hooks=hooks, iters_per_epoch=5, max_epochs=num_steps // 5)
        loop.run()
        return logged_warnings, loop.result.values

    return train_with_diagnostics


def test_no_warning_for_a_run_that_learns(train):
    lines, values = train(network(CLASSIFICATION_LOSS, triplet_loss()), batches(0.5, 0.5), 0.1, num_steps=150)
    assert values["cls_accuracy"] > 0.9
    assert lines == []


@pytest.mark.parametrize(("margin", "at"), [(0.0, "1.39"), (0.3, "0.6")])
def test_warns_about_collapsed_features(margin, at, train):
    """With random labels, the hardest triplets collapse all features."""
    lines, values = train(network(triplet_loss(margin)), batches(0, 1), 0.5)
    assert values["total_loss"] == pytest.approx(2 * TripletLoss(margin).collapse_value, rel=0.01)
    assert [line for line in lines if f"loss_triplet has stayed at {at}" in line and "SOLVER.BASE_LR" in line]
    assert [line for line in lines if "all features have been one point" in line]
    assert all("\n" not in line for line in lines)


def test_warns_about_dead_layer(train):
    model = network(CLASSIFICATION_LOSS)
    nn.init.constant_(model.backbone[0].bias, -1e4)
    lines, values = train(model, batches(0.5, 0.5), 0.05)
    assert values["dead_gradients"] == 3
    assert [line for line in lines if "backbone.0.weight" in line and "gradient of zero or none" in line]


def test_warns_about_weight_without_gradient(train):
    model = network(CLASSIFICATION_LOSS)
    model.backbone.unused = nn.Identity()
    model.backbone.unused.weight = nn.Parameter(torch.ones(2))
    lines, values = train(model, batches(0.5, 0.5), 0.05)
    assert values["dead_gradients"] == 1
    assert "1 weights had a gradient of zero or none (backbone.unused.weight)" in lines[0]


def test_warns_about_inactive_triplets(train):
    lines, values = train(network(CLASSIFICATION_LOSS, triplet_loss(0.01)), batches(1, 0.01), 0.1)
    assert values["active_triplets"] == 0
    assert [line for line in lines if "no triplet was active" in line]


def test_warns_about_chance_accuracy_after_grace_epochs(train):
    lines, _ = train(network(CLASSIFICATION_LOSS), batches(0, 1), 0.01)
    assert next(line for line in lines if "the classifier was at chance" in line).startswith("iteration 30:")


def test_warning_is_repeated_after_twenty_periods(train):
    lines, _ = train(network(CLASSIFICATION_LOSS), batches(0, 1), 0.01, num_steps=300)
    assert [line.partition(":")[0] for line in lines] == ["iteration 30", "iteration 230"]


def test_no_warning_within_an_incomplete_period(train):
    assert train(network(triplet_loss()), batches(0, 1), 0.5, period=100)[0] == []
