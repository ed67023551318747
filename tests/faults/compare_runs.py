"""Whether two runs are the same to the bit, and many tries beside each other."""

import contextlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import torch
from run_server import STAGES, Nursery

from fastreid.utils.checksums import checksum_path, verify_checksum

TIMED = {"time", "data_time", "eta_seconds", "drawings_per_second", "memory_mb", "cuda_memory_mb"}


def lines(folder):
    """The log of metrics but for times."""
    text = (folder / "metrics.json").read_text()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in text.splitlines()]


def same(one, other):
    """Whether two things read from checkpoints are the same to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one if key not in TIMED)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def differs(folder, whole, stages=STAGES):
    """What of a run that was stopped is not as in the one that was not: weights, optimizer, best, log, or not whole."""
    found = []
    for stage in stages:
        for name in ("model_final.pth", "model_best.pth"):
            one, other = (torch.load(run / stage / name, weights_only=True) for run in (folder, whole))
            found += [f"{stage}/{name}: {key}" for key in other if not same(one.get(key), other[key])]
        if lines(folder / stage) != lines(whole / stage):
            found.append(f"{stage}/metrics.json")
        for path in (folder / stage).glob("*.pth"):
            assert checksum_path(path).is_file()
            verify_checksum(path)
    return found


def each(try_one, num, *, folder, nursery, beside=1):
    """Try so many numbers, in an empty folder each, `beside` of them at a time; what came of each.

    The nursery serves one at a time, so all but the first of those beside each other start one of their own.
    """

    def some(first):
        with contextlib.nullcontext(nursery) if first == 0 else Nursery() as mine:
            for number in range(first, num, beside):
                results[number] = try_one(mine, folder / str(number), number)
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(folder / str(number))

    results = [None] * num
    with ThreadPoolExecutor(beside) as pool:
        list(pool.map(some, range(beside)))
    return results
