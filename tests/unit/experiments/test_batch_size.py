import mmap

import pytest
import torch

from fastreid.experiments.batch_size import (
    BatchSizeTrial,
    MemoryPeak,
    doubling_sizes,
    find_batch_size,
    free_memory_mb,
    measure_step,
)

CPU = torch.device("cpu")


def run_search(measure, *, sizes=(8, 16, 32, 64, 128), budget_mb=1000.0):
    return list(find_batch_size(sizes, measure, budget_mb=budget_mb))


def test_size_predicted_to_exceed_the_budget_is_not_tried():
    measured = []

    def measure(size):
        measured.append(size)
        return 10.0, 200 + 10.0 * size

    trials = run_search(measure)
    assert measured == [8, 16, 32, 64]
    assert trials[-1] == BatchSizeTrial(128, 0.0, 1480.0, False)
    assert [trial.fits for trial in trials] == [True, True, True, True, False]


def test_search_stops_when_the_device_is_out_of_memory():
    def measure(size):
        if size == 32:
            raise torch.OutOfMemoryError("full")
        return 10.0, 5.0

    assert [(trial.size, trial.fits) for trial in run_search(measure)] == [(8, True), (16, True), (32, False)]


def test_size_above_the_budget_does_not_fit():
    assert run_search(lambda size: (1.0, 1200.0)) == [BatchSizeTrial(8, 1.0, 1200.0, False)]


def test_doubling_sizes():
    assert list(doubling_sizes(6, 48)) == [6, 12, 24, 48]
    assert list(doubling_sizes(6, 47)) == [6, 12, 24]


def test_measure_step_trains_without_changing_weights(make_step):
    step, before = make_step(), make_step().model
    per_second, memory_mb = measure_step(step, 6, num_instance=2, num_classes=3, image_size_px=(8, 8), num_steps=2)
    assert per_second > 0
    assert 10 < memory_mb <= free_memory_mb(CPU) + 1000
    assert step.model.backbone[1].num_batches_tracked == 3
    assert all(torch.equal(a, b) for a, b in zip(step.model.parameters(), before.parameters()))


def test_memory_peak_of_a_tensor():
    with MemoryPeak(CPU) as small:
        torch.ones(1)
    with MemoryPeak(CPU) as large, mmap.mmap(-1, 256 * 2**20) as block:  # the heap may have free memory
        torch.frombuffer(block, dtype=torch.uint8).fill_(1)
    assert large.mb - small.mb == pytest.approx(256, abs=30)
