import pytest
import torch
from torch import nn

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.weight_average import WeightAverage


def average_of(model, method="ema", *, decay=0.9, start=0, iters_per_epoch=4):
    return WeightAverage(model, method=method, decay=decay, start=start, iters_per_epoch=iters_per_epoch)


def walk(average, values):
    """The mean's weight after a model's weight went through these values."""
    model = nn.Linear(1, 1, bias=False)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update(model)
    return average.model.weight.item()


def test_ema_is_the_recursion_of_its_formula():
    values, mean = [3.0, 1.0, -2.0, 5.0, 4.0, 4.0, 0.5], 0.0
    for n, value in enumerate(values):
        kept = min(0.3, (1 + n) / (10 + n)) if n else 0.0
        mean = kept * mean + (1 - kept) * value
    assert walk(average_of(nn.Linear(1, 1, bias=False), decay=0.3), values) == pytest.approx(mean)


def test_swa_is_the_plain_mean_of_the_ends_of_epochs_from_its_start():
    average = average_of(nn.Linear(1, 1, bias=False), "swa", start=4, iters_per_epoch=2)
    assert walk(average, [9, 9, 9, 9, 1, 2, 3, 4, 5, 6]) == pytest.approx((2 + 4 + 6) / 3)
    assert average.num_averaged == 3


def test_nothing_counts_before_the_start():
    average = average_of(nn.Linear(1, 1, bias=False), start=3)
    walk(average, [1, 2, 3])
    assert average.num_averaged == 0
    assert walk(average, [7]) == 7


def test_statistics_are_averaged_and_counts_are_the_models_own():
    norm = nn.BatchNorm1d(2)
    average = average_of(norm, decay=0.5)
    for value in (1.0, 2.0):
        norm.running_mean.fill_(value)
        norm.num_batches_tracked.add_(1)
        average.update(norm)
    assert 1 < average.model.running_mean[0] < 2
    assert average.model.num_batches_tracked == 2
    assert norm.running_mean[0] == 2


def test_a_step_is_followed_and_a_run_that_goes_on_has_the_same_mean(toy_step, toy_loop, tmp_path):
    def keeper(step):
        return Checkpointer(tmp_path, step, iters_per_epoch=4)

    def averaged():
        step = toy_step()
        step.average = average_of(step.model)
        return step

    whole = averaged()
    toy_loop(step=whole, max_epochs=2).run()
    first = averaged()
    toy_loop(step=first, max_epochs=1).run()
    keeper(first).save("model_0000.pth", Progress(iteration=4))
    second = averaged()
    assert keeper(second).resume().iteration == 4
    toy_loop(step=second, iteration=4, max_epochs=2).run()
    mean, again = whole.average.model.state_dict(), second.average.model.state_dict()
    assert all(torch.equal(mean[name], again[name]) for name in mean)
    assert not torch.equal(mean["heads.weight"], whole.model.heads.weight)
    assert second.average.num_averaged == 8


def test_the_mean_is_written_as_weights_once_there_is_one(toy_step, toy_loop, tmp_path):
    step = toy_step()
    step.average = average_of(step.model)
    keeper = Checkpointer(tmp_path, step, iters_per_epoch=4)
    keeper.save_average("mean.pth", Progress())
    assert not (tmp_path / "mean.pth").exists()
    toy_loop(step=step, max_epochs=1).run()
    keeper.save_average("mean.pth", Progress(iteration=4))
    state = torch.load(tmp_path / "mean.pth", weights_only=True)
    assert torch.equal(state["model"]["heads.weight"], step.average.model.heads.weight)
