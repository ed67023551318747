import json
import os
import signal
from itertools import islice

import pytest
import torch

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.hooks.basic import (
    CheckWeightUpdates,
    SampleClasses,
    FreezeLayers,
    SaveCheckpoints,
    SetLearningRate,
    StopOnSignal,
    WriteMetrics,
    write_bad_step_record,
)
from fastreid.engine.hooks.evaluation import PreciseBatchNorm
from fastreid.engine.inference import eval_mode
from fastreid.engine.train_loop import Hook
from fastreid.engine.train_step import StepResult
from fastreid.layers.norm import FrozenBatchNorm
from fastreid.monitoring.writers import JSONWriter
from fastreid.solver.schedule import CosineSchedule, Warmup
from fastreid.utils.cli import StoppedBySignalError
from fastreid.utils.errors import InputError, NumericalError


class At(Hook):
    """Calls something once so many steps are done."""

    def __init__(self, iteration, call):
        self.iteration, self.call = iteration, call

    def after_step(self, loop):
        if loop.iteration == self.iteration:
            self.call(loop)


def backbone_of(loop):
    return {name: value.clone() for name, value in loop.step.model.backbone.state_dict().items()}


def test_every_group_has_the_rate_of_the_schedule_at_each_step(toy_loop):
    seen = []
    schedule = CosineSchedule(4, 3, warmup=Warmup(4))
    loop = toy_loop(
        [SetLearningRate(schedule), At(2, lambda loop: seen.append(loop.step.optimizer.param_groups[0]["lr"]))]
    )
    loop.run()
    assert seen == [schedule.lr(0.01, 1)]


def test_the_freeze_counts_steps_of_the_run_and_survives_an_evaluation_inside(toy_loop):
    def evaluate(loop):
        with eval_mode(loop.step.model):
            loop.step.model(torch.zeros(1, 3, 8, 8))

    states = {}
    hooks = [FreezeLayers(["backbone"], 6), At(3, evaluate)]
    hooks += [At(n, lambda loop, n=n: states.update({n: backbone_of(loop)})) for n in (1, 6, 7)]
    toy_loop(hooks).run()
    assert all(torch.equal(states[1][name], states[6][name]) for name in states[1])
    assert not torch.equal(states[6]["1.running_mean"], states[7]["1.running_mean"])


def test_a_run_that_goes_on_after_the_freeze_is_not_frozen_again(toy_loop):
    states = {}
    hooks = [FreezeLayers(["backbone"], 6)]
    hooks += [At(n, lambda loop, n=n: states.update({n: backbone_of(loop)})) for n in (9, 10)]
    toy_loop(hooks, iteration=8).run()
    assert not torch.equal(states[9]["0.weight"], states[10]["0.weight"])


def test_a_layer_to_freeze_that_is_not_there_is_refused(toy_loop):
    with pytest.raises(InputError, match=r"no child 'backbon'. Did you mean 'backbone'"):
        toy_loop([FreezeLayers(["backbon"], 6)]).run()


def test_a_run_whose_weights_stand_still_is_stopped(toy_loop, toy_step):
    step = toy_step()
    step.optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(NumericalError, match="no weight moved in 3 steps"):
        toy_loop([CheckWeightUpdates(3)], step=step).run()


def test_a_run_whose_weights_move_goes_on(toy_loop):
    toy_loop([CheckWeightUpdates(3)]).run()


def metrics_hook(folder, progress, iteration=0):
    return WriteMetrics([JSONWriter(folder, iteration=iteration)], progress, period=3)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_a_line_is_written_each_period_and_at_each_epoch_s_end(toy_loop, tmp_path):
    toy_loop([metrics_hook(tmp_path, Progress())]).run()
    assert [line["iteration"] for line in lines_of(tmp_path)] == [3, 4, 6, 8, 9, 12]
    assert {"total_loss", "loss_cls", "cls_accuracy", "lr", "time", "data_time", "eta_seconds"} <= set(
        lines_of(tmp_path)[0]
    )


def test_a_run_that_goes_on_takes_out_the_lines_after_its_checkpoint_and_a_torn_one(tmp_path):
    (tmp_path / "metrics.json").write_text('{"iteration": 4}\n{"iteration": 6}\n{"itera')
    JSONWriter(tmp_path, iteration=4)
    assert (tmp_path / "metrics.json").read_text() == '{"iteration": 4}\n'


def run_all(toy_loop, step, folder, *, resume=False, more=()):
    """A run with checkpoints each epoch; returns its last weights."""
    checkpointer = Checkpointer(folder, step, iters_per_epoch=4)
    progress = checkpointer.resume() if resume else Progress()
    hooks = [
        SetLearningRate(CosineSchedule(4, 3)),
        *more,
        metrics_hook(folder, progress, progress.iteration),
        SaveCheckpoints(checkpointer, progress, period=1),
        StopOnSignal(checkpointer, progress),
    ]
    toy_loop(hooks, step=step, iteration=progress.iteration).run()
    return step.model.state_dict()


@pytest.mark.parametrize("steps", [1, 5, 6, 8])
def test_a_signal_saves_and_the_run_that_goes_on_ends_with_the_same_bits(steps, toy_loop, toy_step, tmp_path):
    whole = run_all(toy_loop, toy_step(), tmp_path / "whole")
    ask = At(steps, lambda loop: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedBySignalError) as stop:
        run_all(toy_loop, toy_step(), tmp_path / "parts", more=[ask])
    assert stop.value.exit_code == 143
    parts = run_all(toy_loop, toy_step(), tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    first, second = lines_of(tmp_path / "whole"), lines_of(tmp_path / "parts")
    timed = {"time", "data_time", "eta_seconds", "drawings_per_second", "memory_mb"}
    assert [{k: v for k, v in line.items() if k not in timed} for line in first] == [
        {k: v for k, v in line.items() if k not in timed} for line in second
    ]


def test_checkpoints_are_named_by_their_epoch_from_zero(toy_loop, toy_step, tmp_path):
    run_all(toy_loop, toy_step(), tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["model_0000.pth", "model_0001.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_precise_batch_norm_is_the_mean_over_the_batches_it_was_given(toy_loop):
    batches = list(islice(toy_loop().batches, 5))
    loop = toy_loop([PreciseBatchNorm(lambda num: batches[:num], 5)], max_epochs=1)
    loop.run()
    model = loop.step.model
    maps = [model.backbone[0](batch.images / 255) for batch in batches]
    expected = torch.stack([values.mean((0, 2, 3)) for values in maps]).mean(0)
    torch.testing.assert_close(model.backbone[1].running_mean, expected)


def test_the_record_of_a_bad_step_names_the_drawings_of_the_process_that_met_it(tmp_path):
    processes = [(["c.png"], {"loss_cls": 1.0}), (["a.png", "b.png"], {"loss_cls": float("nan")})]
    record = write_bad_step_record(tmp_path, 0, processes)
    assert json.loads(record.read_text()) == {
        "iteration": 0,
        "values": {"loss_cls": "nan"},
        "drawings": ["a.png", "b.png"],
    }


def test_freezing_all_of_the_model_is_refused(toy_loop):
    with pytest.raises(InputError, match="names all of the model"):
        toy_loop([FreezeLayers(["backbone", "heads"], 6)]).run()


def test_precise_batch_norm_leaves_frozen_statistics_alone(toy_loop, toy_step):
    step = toy_step()
    step.model.backbone[1] = FrozenBatchNorm(4)
    step.model.backbone[1].running_mean.fill_(7)
    loop = toy_loop([PreciseBatchNorm(lambda num: islice(toy_loop().batches, num), 3)], step=step, max_epochs=1)
    loop.run()
    assert (step.model.backbone[1].running_mean == 7).all()


def test_a_gradient_that_is_no_number_does_not_reach_the_log(toy_loop, tmp_path):
    loop = toy_loop()
    loop.result = StepResult({"total_loss": 1.0, "grad_norm": float("inf")}, batch=None, skipped=True)
    progress = Progress()
    metrics_hook(tmp_path, progress).after_step(loop)
    assert "grad_norm" not in progress.window
    assert progress.window["total_loss"] == [1.0]


def test_the_classes_of_a_step_are_drawn_by_the_step_also_after_a_stop(toy_loop):
    class Drawn(list):
        def draw(self, *parts):
            self.append(parts)

    whole, resumed = Drawn(), Drawn()
    toy_loop([SampleClasses(whole, seed=7)]).run()
    toy_loop([SampleClasses(resumed, seed=7)], iteration=5).run()
    assert whole == [(7, step) for step in range(12)]
    assert resumed == whole[5:]


def test_weights_that_are_told_to_rest_are_no_surprise(toy_loop, toy_step, warnings_of):
    step = toy_step()
    [group] = step.optimizer.param_groups
    step.optimizer.add_param_group({"params": [group["params"].pop()], "lr": 0.0})
    toy_loop([CheckWeightUpdates(3)], step=step).run()
    assert warnings_of == []
