"""Speed of training steps by two processes relative to one process on the same drawings."""

import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/engine"))

from processes import run_in_processes

from fastreid.config import get_cfg
from fastreid.engine.step.train_step import TrainStep
from fastreid.modeling import build_model
from fastreid.structures import Batch
from fastreid.utils import comm

ROUNDS, NUM, SIZE_PX = 5, 32, 128
TARGETS = torch.arange(NUM) // 4


def build_train_step():
    cfg = get_cfg()
    cfg.merge_from_file("configs/patent/sbs_R101-ibn_patent_256.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "50x"])
    torch.manual_seed(0)
    model = build_model(cfg, 1000)
    return TrainStep(model, torch.optim.Adam(model.parameters(), lr=1e-5), device=torch.device("cpu"))


def measure_seconds(function):
    """Return the time of a call on all processes."""
    dist.barrier()
    start = time.perf_counter()
    function()
    dist.barrier()
    return time.perf_counter() - start


def best_seconds():
    """Return the shortest time of a step: one process on the whole or half batch, two processes on one half each.

    Also returns the weights of the classifier that the two processes trained.
    """
    torch.manual_seed(comm.get_rank())
    batch = Batch(torch.rand(NUM, 3, SIZE_PX, SIZE_PX) * 255, TARGETS, torch.arange(NUM))
    half = Batch(batch.images[: NUM // 2], TARGETS[: NUM // 2], batch.rows[: NUM // 2])
    is_first, both = comm.is_main_process(), build_train_step()
    with mock.patch.object(comm, "get_world_size", return_value=1):
        alone = build_train_step()

    def step_alone(part, num_threads):
        if is_first:
            torch.set_num_threads(num_threads)
            with mock.patch.object(comm, "get_world_size", return_value=1):
                alone(part)
            torch.set_num_threads(1)

    cases = {
        "one process, one thread": lambda: step_alone(batch, 1),
        "one process, two threads": lambda: step_alone(batch, 2),
        "one process, one thread, half the batch": lambda: step_alone(half, 1),
        "two processes, half the batch each": lambda: both(half),
    }
    rounds = [{name: measure_seconds(function) for name, function in cases.items()} for _ in range(ROUNDS)]
    return {name: min(times[name] for times in rounds) for name in cases}, both.model.heads.weight.detach()


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_second_process(tmp_path, capsys):
    (best, weight), (_, other_weight) = run_in_processes(2, best_seconds, tmp_path)
    assert torch.equal(weight, other_weight)
    speedup = best["one process, one thread"] / best["two processes, half the batch each"]
    with capsys.disabled():
        print(f"\ntraining R50-IBN-NL at {SIZE_PX} px, {NUM} drawings per step, best of {ROUNDS} rounds:")
        for name, duration in best.items():
            print(f"  {name}: {duration:.2f} s")
        print(f"  two processes are {speedup:.2f} times as fast as one: efficiency {speedup / 2:.0%}")
