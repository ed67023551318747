"""Compare two runs bit by bit, and run many trials in parallel."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import torch
from commands import TIMED
from training_runs import STAGES

from fastreid.utils.checksums import checksum_path, verify_checksum


def read_metrics(folder):
    """Return the lines of metrics.json without times."""
    text = (folder / "metrics.json").read_text()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in text.splitlines()]


def is_equal(one, other):
    """Return whether two values of checkpoints have the same bits."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_equal(one[key], other[key]) for key in one if key not in TIMED)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


def find_differences(folder, expected, stages=STAGES):
    """Return the parts of a run that differ from an uninterrupted one: weights, optimizer, best model and metrics.

    Every checkpoint must match its checksum.
    """
    differences = []
    for stage in stages:
        for name in ("model_final.pth", "model_best.pth"):
            one, other = (torch.load(run / stage / name, weights_only=True) for run in (folder, expected))
            differences += [f"{stage}/{name}: {key}" for key in other if not is_equal(one.get(key), other[key])]
        if read_metrics(folder / stage) != read_metrics(expected / stage):
            differences.append(f"{stage}/metrics.json")
        for path in (folder / stage).glob("*.pth"):
            assert checksum_path(path).is_file()
            verify_checksum(path)
    return differences


def run_trials(trial, num, *, folder, num_parallel=1):
    """Return `trial(folder, index)` for each index, in an empty folder each, `num_parallel` at a time."""

    def run(index):
        try:
            return trial(folder / str(index), index)
        finally:
            shutil.rmtree(folder / str(index), ignore_errors=True)

    with ThreadPoolExecutor(num_parallel) as pool:
        return list(pool.map(run, range(num)))
