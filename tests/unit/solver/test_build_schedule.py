"""Durations of a schedule as counts and as ratios of the run."""

import logging

import pytest

from fastreid.config import get_cfg
from fastreid.solver.build import build_schedule, resolve_iterations
from fastreid.utils.errors import InputError


def make_config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.MAX_EPOCH", 20, "SOLVER.SCHED", "CosineAnnealingLR", *options])
    return cfg


def test_ratios_equal_the_counts_of_the_run():
    ratios = make_config("SOLVER.WARMUP_ITERS", 0.1, "SOLVER.DELAY_EPOCHS", "0.25", "SOLVER.FREEZE_ITERS", 0.05)
    counts = make_config("SOLVER.WARMUP_ITERS", 42, "SOLVER.DELAY_EPOCHS", 5)
    assert build_schedule(ratios, 21) == build_schedule(counts, 21)
    assert resolve_iterations(ratios, "FREEZE_ITERS", 21) == 21


@pytest.mark.parametrize("value", [1.5, -0.1, "half"])
def test_other_fractions_are_invalid(value):
    allowed = "an integer >= 0, or a fraction below 1: a ratio of the run"
    with pytest.raises(InputError, match=f"SOLVER.WARMUP_ITERS is .*; it must be {allowed}"):
        make_config("SOLVER.WARMUP_ITERS", value)


def test_durations_that_exceed_the_run_are_a_warning(caplog):
    options = ["SOLVER.WARMUP_ITERS", 2000, "SOLVER.FREEZE_ITERS", 1000, "SOLVER.DELAY_EPOCHS", 30]
    with caplog.at_level(logging.WARNING, logger="fastreid"):
        build_schedule(make_config(*options, "MODEL.FREEZE_LAYERS", "['backbone']"), 21)
    [record] = caplog.records
    assert record.getMessage() == (
        "SOLVER.WARMUP_ITERS is 2000 and the run has 420 iterations; SOLVER.FREEZE_ITERS is 1000 and the run has 420 "
        "iterations; SOLVER.DELAY_EPOCHS is 30 and the run has 20 epochs; a value below 1 is a ratio of the run, "
        "such as SOLVER.WARMUP_ITERS 0.1"
    )


def test_durations_inside_the_run_are_no_warning(caplog):
    build_schedule(make_config("SOLVER.WARMUP_ITERS", 400, "SOLVER.FREEZE_ITERS", 1000), 21)
    assert not caplog.records
