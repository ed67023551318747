"""What a second process brings: steps of one process and of two on the same drawings, in turn."""

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
from fastreid.engine.train_step import TrainStep
from fastreid.modeling import build_model
from fastreid.structures import Batch
from fastreid.utils import comm

ROUNDS, NUM, SIZE_PX = 5, 32, 128
TARGETS = torch.arange(NUM) // 4


def step_of():
    cfg = get_cfg()
    cfg.merge_from_file("configs/patent/sbs_R101-ibn_patent_256.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "50x"])
    torch.manual_seed(0)
    model = build_model(cfg, 1000)
    return TrainStep(model, torch.optim.Adam(model.parameters(), lr=1e-5), device=torch.device("cpu"))


def seconds(work):
    dist.barrier()
    begun = time.perf_counter()
    work()
    dist.barrier()
    return time.perf_counter() - begun


def best_seconds():
    """The best time of a step on the whole batch by one process, of one on half of it, and by both on their halves."""
    torch.manual_seed(comm.get_rank())
    batch = Batch(torch.rand(NUM, 3, SIZE_PX, SIZE_PX) * 255, TARGETS, torch.arange(NUM))
    half = Batch(batch.images[: NUM // 2], TARGETS[: NUM // 2], batch.rows[: NUM // 2])
    is_first, both = comm.is_main_process(), step_of()
    with mock.patch.object(comm, "get_world_size", return_value=1):
        alone = step_of()

    def by_one(given, num_threads):
        if is_first:
            torch.set_num_threads(num_threads)
            with mock.patch.object(comm, "get_world_size", return_value=1):
                alone(given)
            torch.set_num_threads(1)

    works = {
        "one process, one thread": lambda: by_one(batch, 1),
        "one process, two threads": lambda: by_one(batch, 2),
        "one process, one thread, half the batch": lambda: by_one(half, 1),
        "two processes, half the batch each": lambda: both(half),
    }
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(ROUNDS)]
    return {name: min(times[name] for times in rounds) for name in works}


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_a_second_process(tmp_path):
    best = run_in_processes(2, best_seconds, tmp_path)[0]
    whole, in_two = best["one process, one thread"], best["two processes, half the batch each"]
    print(f"\nR50-IBN-NL, {SIZE_PX} px, {NUM} drawings a step, best of {ROUNDS} rounds in turn")
    for name, time_s in best.items():
        print(f"{name:42} {time_s:6.2f} s")
    print(f"two processes do {whole / in_two:.2f} times the work of one: {whole / in_two / 2:.0%} of twice as much")
