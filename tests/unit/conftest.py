"""Fixtures shared by the unit tests: a small network with random batches, peak memory, logged warnings."""

import itertools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import nn

from fastreid.engine.step.train_step import TrainStep
from fastreid.engine.train_loop import TrainLoop
from fastreid.structures import Batch
from fastreid.utils.logger import get_logger
from fastreid.utils.seeding import keyed_torch_rng

Result = TypeVar("Result")


@pytest.fixture
def measure_peak_memory() -> Callable[[Callable[[], Result]], tuple[Result, float]]:
    """Return a function that calls another one and returns its result and the increase of peak memory in MiB.

    The kernel's peak is reset first (proc(5), clear_refs 5), so that earlier tests do not hide the increase.
    """

    def run(function: Callable[[], Result]) -> tuple[Result, float]:
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak_mib()
        result = function()
        return result, _peak_mib() - before

    return run


def _peak_mib() -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.heads = nn.Linear(4, 3)

    def forward(self, images, targets=None, with_stats=False):
        features = self.backbone(images / 255).flatten(1)
        if not self.training:
            return features
        losses = {"loss_cls": nn.functional.cross_entropy(self.heads(features), targets)}
        stats = {"cls_accuracy": torch.zeros(()), "feature_norm": features.norm(dim=1).mean()}
        return (losses, stats) if with_stats else losses


def random_batches(start=0):
    """Yield endless batches; the n-th one is always the same."""
    for iteration in itertools.count(start):
        with keyed_torch_rng("toy batch", iteration):
            images = torch.rand(6, 3, 8, 8) * 255
        yield Batch(images, torch.arange(6) % 3, torch.arange(6))


@pytest.fixture
def logged_warnings():
    """Return the list of warnings that the package logs during the test."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    get_logger().addHandler(handler)
    yield lines
    get_logger().removeHandler(handler)


@pytest.fixture
def logged_lines():
    """Return the list of lines, from level INFO on, that the package logs during the test."""
    lines, logger = [], get_logger()
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def make_step():
    """Return a function that builds a training step with a new network, the same each time."""

    def make(**arguments):
        torch.manual_seed(0)
        model = ToyModel()
        groups = [{"params": list(model.parameters()), "lr": 0.01, "base_lr": 0.01}]
        return TrainStep(model, torch.optim.Adam(groups), device=torch.device("cpu"), **arguments)

    return make


@pytest.fixture
def make_loop(make_step):
    """Return a function that builds a loop of 3 epochs of 4 iterations."""

    def make(hooks=(), *, step=None, iteration=0, max_epochs=3, epoch_end_pending=False):
        return TrainLoop(
            step or make_step(),
            random_batches(iteration),
            hooks=hooks,
            iters_per_epoch=4,
            max_epochs=max_epochs,
            iteration=iteration,
            epoch_end_pending=epoch_end_pending,
        )

    return make
