import pytest
import torch

from fastreid.experiments.batch_size import MemoryPeak, Trial, doubled, find_batch_size, free_memory_mb, measure_step

CPU = torch.device("cpu")


def tried(measure, *, sizes=(8, 16, 32, 64, 128), budget_mb=1000.0):
    return list(find_batch_size(sizes, measure, budget_mb=budget_mb))


def test_a_size_that_would_exceed_the_memory_is_not_tried():
    asked = []

    def measure(size):
        asked.append(size)
        return 10.0, 200 + 10.0 * size

    trials = tried(measure)
    assert asked == [8, 16, 32, 64]
    assert trials[-1] == Trial(128, 0.0, 1480.0, False)
    assert [trial.fits for trial in trials] == [True, True, True, True, False]


def test_where_the_device_is_full_that_is_the_end():
    def measure(size):
        if size == 32:
            raise torch.OutOfMemoryError("full")
        return 10.0, 5.0

    assert [(trial.size, trial.fits) for trial in tried(measure)] == [(8, True), (16, True), (32, False)]


def test_a_size_that_took_more_than_there_is_is_told_as_such():
    assert tried(lambda size: (1.0, 1200.0)) == [Trial(8, 1.0, 1200.0, False)]


def test_sizes_double_up_to_the_last():
    assert list(doubled(6, 48)) == [6, 12, 24, 48]
    assert list(doubled(6, 47)) == [6, 12, 24]


def test_steps_are_really_made_and_leave_the_weights_as_they_are(toy_step):
    step, before = toy_step(), toy_step().model
    per_second, memory_mb = measure_step(step, 6, num_instance=2, num_classes=3, image_px=(8, 8), num_steps=2)
    assert per_second > 0
    assert 10 < memory_mb <= free_memory_mb(CPU) + 1000
    assert step.model.backbone[1].num_batches_tracked == 3
    assert all(torch.equal(a, b) for a, b in zip(step.model.parameters(), before.parameters()))


def test_the_peak_of_memory_is_what_was_held_inside():
    with MemoryPeak(CPU) as small:
        torch.ones(1)
    with MemoryPeak(CPU) as large:
        torch.ones(64, 2**20)
    assert large.mb - small.mb == pytest.approx(256, abs=30)
