import pytest
import torch
from torch import nn

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.step.weight_average import WeightAverage


def build_average(model, method="ema", *, decay=0.9, start=0, iters_per_epoch=4):
    return WeightAverage(model, method=method, decay=decay, start=start, iters_per_epoch=iters_per_epoch)


def average_values(average, values):
    """Update the average with these values of a weight; return the averaged weight."""
    model = nn.Linear(1, 1, bias=False)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update(model)
    return average.model.weight.item()


def test_ema_follows_its_recursion():
    values, mean = [3.0, 1.0, -2.0, 5.0, 4.0, 4.0, 0.5], 0.0
    for n, value in enumerate(values):
        kept = min(0.3, (1 + n) / (10 + n)) if n else 0.0
        mean = kept * mean + (1 - kept) * value
    assert average_values(build_average(nn.Linear(1, 1, bias=False), decay=0.3), values) == pytest.approx(mean)


def test_swa_is_the_mean_of_epoch_ends_after_start():
    average = build_average(nn.Linear(1, 1, bias=False), "swa", start=4, iters_per_epoch=2)
    assert average_values(average, [9, 9, 9, 9, 1, 2, 3, 4, 5, 6]) == pytest.approx((2 + 4 + 6) / 3)
    assert average.num_averaged == 3


def test_nothing_is_averaged_before_start():
    average = build_average(nn.Linear(1, 1, bias=False), start=3)
    average_values(average, [1, 2, 3])
    assert average.num_averaged == 0
    assert average_values(average, [7]) == 7


def test_statistics_are_averaged_and_counts_are_copied():
    norm = nn.BatchNorm1d(2)
    average = build_average(norm, decay=0.5)
    for value in (1.0, 2.0):
        norm.running_mean.fill_(value)
        norm.num_batches_tracked.add_(1)
        average.update(norm)
    assert 1 < average.model.running_mean[0] < 2
    assert average.model.num_batches_tracked == 2
    assert norm.running_mean[0] == 2


def test_resumed_run_has_the_same_weight_average(make_step, make_loop, tmp_path):
    def build_checkpointer(step):
        return Checkpointer(tmp_path, step, iters_per_epoch=4)

    def make_averaging_step():
        step = make_step()
        step.average = build_average(step.model)
        return step

    whole = make_averaging_step()
    make_loop(step=whole, max_epochs=2).run()
    first = make_averaging_step()
    make_loop(step=first, max_epochs=1).run()
    build_checkpointer(first).save("model_0000.pth", Progress(iteration=4))
    second = make_averaging_step()
    assert build_checkpointer(second).resume().iteration == 4
    make_loop(step=second, iteration=4, max_epochs=2).run()
    expected, resumed = whole.average.model.state_dict(), second.average.model.state_dict()
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert not torch.equal(expected["heads.weight"], whole.model.heads.weight)
    assert second.average.num_averaged == 8


def test_average_is_saved_once_it_exists(make_step, make_loop, tmp_path):
    step = make_step()
    step.average = build_average(step.model)
    checkpointer = Checkpointer(tmp_path, step, iters_per_epoch=4)
    checkpointer.save_average("mean.pth", Progress())
    assert not (tmp_path / "mean.pth").exists()
    make_loop(step=step, max_epochs=1).run()
    checkpointer._data_state = {"format": 2, "labels": "x", "lists": {}}
    checkpointer.save_average("mean.pth", Progress(iteration=4))
    state = torch.load(tmp_path / "mean.pth", weights_only=True)
    assert state["data"] == {"format": 2, "labels": "x"}  # by which `fastreid average` recognizes the patents
    assert torch.equal(state["model"]["heads.weight"], step.average.model.heads.weight)
