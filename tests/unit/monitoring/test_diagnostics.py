"""Each trouble is made to happen with a network of a few weights, and told; a run without trouble is left in peace."""

import itertools

import pytest
import torch
from torch import nn

from fastreid.engine.train_loop import TrainLoop
from fastreid.engine.train_step import TrainStep
from fastreid.layers.pooling import GlobalAvgPool
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.losses.cross_entropy import CrossEntropy
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.triplet import Triplet
from fastreid.monitoring.diagnostics import WatchForTrouble
from fastreid.structures import Batch

PERIOD, NUM_CLASSES = 10, 4
CLASSES = LossTerm("loss_cls", CrossEntropy(), "logits")


def triplets(margin=0.0):
    function = Triplet(margin, hard_mining=True)
    return LossTerm("loss_triplet", function, "features", 2.0, told=function.told, collapsed=function.collapsed)


def network(*terms):
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
    head = EmbeddingHead(8, NUM_CLASSES, pool=GlobalAvgPool())
    return Baseline(backbone, head, terms, pixel_mean=(127.5,) * 3, pixel_std=(64.0,) * 3)


def batches(pattern, noise):
    """16 drawings of 4 patents, each patent with a pattern of its own under noise."""
    generator = torch.Generator().manual_seed(1)
    of_class = torch.rand(NUM_CLASSES, 3, 8, 8, generator=generator) * 255
    for _ in itertools.count():
        targets = torch.arange(16) % NUM_CLASSES
        images = pattern * of_class[targets] + noise * torch.rand(16, 3, 8, 8, generator=generator) * 255
        yield Batch(images, targets, torch.arange(16))


@pytest.fixture
def told(warnings_of):
    """Trains for so many steps under watch; the warnings, and the last step's values."""

    def train(model, of_batches, lr, *, num_steps=60, period=PERIOD):
        optimizer = torch.optim.SGD([{"params": list(model.parameters()), "lr": lr}])
        collapsed = {term.key: term.scale * term.collapsed for term in model.losses if term.collapsed is not None}
        watch = WatchForTrouble(period=period, collapsed=collapsed, num_classes=NUM_CLASSES)
        reaches_all = any(term.sees == "logits" for term in model.losses)
        step = TrainStep(model, optimizer, device=torch.device("cpu"), all_learn=reaches_all)
        loop = TrainLoop(step, of_batches, hooks=[watch], iters_per_epoch=5, max_epochs=num_steps // 5)
        loop.run()
        return warnings_of, loop.result.values

    return train


def test_a_run_that_learns_is_told_nothing(told):
    lines, values = told(network(CLASSES, triplets()), batches(0.5, 0.5), 0.1, num_steps=150)
    assert values["cls_accuracy"] > 0.9
    assert lines == []


@pytest.mark.parametrize(("margin", "at"), [(0.0, "1.39"), (0.3, "0.6")])
def test_triplets_that_collapse_all_features_are_told_by_their_loss_and_their_spread(margin, at, told):
    """On labels that say nothing, the hardest triplets pull everything together."""
    lines, values = told(network(triplets(margin)), batches(0, 1), 0.5)
    assert values["total_loss"] == pytest.approx(2 * Triplet(margin).collapsed, rel=0.01)
    assert [line for line in lines if f"loss_triplet has stood at {at}" in line and "SOLVER.BASE_LR" in line]
    assert [line for line in lines if "all features have been one point" in line]
    assert all("\n" not in line for line in lines)


def test_a_layer_whose_outputs_are_all_zero_is_named_as_dead(told):
    model = network(CLASSES)
    nn.init.constant_(model.backbone[0].bias, -1e4)
    lines, values = told(model, batches(0.5, 0.5), 0.05)
    assert values["dead_gradients"] == 3
    assert [line for line in lines if "backbone.0.weight" in line and "gradient of zero or none" in line]


def test_a_weight_that_no_loss_reaches_is_named(told):
    model = network(CLASSES)
    model.backbone.forgotten = nn.Identity()
    model.backbone.forgotten.weight = nn.Parameter(torch.ones(2))
    lines, values = told(model, batches(0.5, 0.5), 0.05)
    assert values["dead_gradients"] == 1
    assert "1 weights had a gradient of zero or none (backbone.forgotten.weight)" in lines[0]


def test_triplets_that_are_all_far_enough_are_told_to_teach_nothing(told):
    lines, values = told(network(CLASSES, triplets(0.01)), batches(1, 0.01), 0.1)
    assert values["active_triplets"] == 0
    assert [line for line in lines if "no triplet was active" in line]


def test_a_classifier_that_stays_at_chance_is_told_after_its_first_epochs(told):
    lines, _ = told(network(CLASSES), batches(0, 1), 0.01)
    assert next(line for line in lines if "the classifier was at chance" in line).startswith("step 30:")


def test_a_warning_does_not_come_again_for_twenty_periods(told):
    lines, _ = told(network(CLASSES), batches(0, 1), 0.01, num_steps=300)
    assert [line.partition(":")[0] for line in lines] == ["step 30", "step 230"]


def test_what_lasts_less_than_a_period_is_not_told(told):
    assert told(network(triplets()), batches(0, 1), 0.5, period=100)[0] == []
