"""The learning rate of every iteration matches fast-reid."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Warmup

HERE = Path(__file__).parent
CASES = json.loads((HERE / "lr_schedules.json").read_text())


def build_schedule(case):
    common = {
        "iters_per_epoch": case["iters_per_epoch"],
        "max_epochs": case["MAX_EPOCH"],
        "warmup": Warmup(case["WARMUP_ITERS"], factor=case["WARMUP_FACTOR"], method=case["WARMUP_METHOD"]),
        "delay_epochs": case["DELAY_EPOCHS"],
    }
    if case["SCHED"] == "CosineAnnealingLR":
        return CosineSchedule(eta_min=case["ETA_MIN_LR"], **common)
    return MultiStepSchedule(steps=tuple(case["STEPS"]), gamma=case["GAMMA"], **common)


@pytest.mark.parametrize("name", CASES)
def test_learning_rate_of_every_iteration(name):
    expected = np.load(HERE / "lr_schedules.npz")[name]
    schedule = build_schedule(CASES[name])
    rates = [schedule.lr(CASES[name]["BASE_LR"], iteration) for iteration in range(len(expected))]
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=0)
