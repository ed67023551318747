import json
import os
import signal
from itertools import islice

import pytest
import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.features.inference import eval_mode
from fastreid.engine.hooks import (
    CheckWeightUpdates,
    FreezeLayers,
    PreciseBatchNorm,
    SampleClasses,
    SaveCheckpoints,
    SetLearningRate,
    StopOnSignal,
    WriteMetrics,
)
from fastreid.engine.hooks.metrics import write_bad_step_record
from fastreid.engine.step.train_step import StepResult
from fastreid.engine.train_loop import Hook
from fastreid.layers.norm import FrozenBatchNorm
from fastreid.monitoring.writers import JSONWriter
from fastreid.solver.schedule import CosineSchedule, Warmup
from fastreid.utils.cli import StoppedBySignalError
from fastreid.utils.errors import InputError, NumericalError


class CallAt(Hook):
    """Call a function after the given iteration."""

    def __init__(self, iteration, call):
        self.iteration, self.call = iteration, call

    def after_step(self, loop):
        if loop.iteration == self.iteration:
            self.call(loop)


def copy_backbone(loop):
    return {name: value.clone() for name, value in loop.step.model.backbone.state_dict().items()}


def test_learning_rate_follows_the_schedule(make_loop):
    seen = []
    schedule = CosineSchedule(4, 3, warmup=Warmup(4))
    loop = make_loop(
        [SetLearningRate(schedule), CallAt(2, lambda loop: seen.append(loop.step.optimizer.param_groups[0]["lr"]))]
    )
    loop.run()
    assert seen == [schedule.lr(0.01, 1)]


def test_freeze_counts_iterations_and_survives_an_evaluation(make_loop):
    def evaluate(loop):
        with eval_mode(loop.step.model):
            loop.step.model(torch.zeros(1, 3, 8, 8))

    states = {}
    hooks = [FreezeLayers(["backbone"], 6), CallAt(3, evaluate)]
    hooks += [CallAt(n, lambda loop, n=n: states.update({n: copy_backbone(loop)})) for n in (1, 6, 7)]
    make_loop(hooks).run()
    assert all(torch.equal(states[1][name], states[6][name]) for name in states[1])
    assert not torch.equal(states[6]["1.running_mean"], states[7]["1.running_mean"])


def test_resumed_run_is_not_frozen_again(make_loop):
    states = {}
    hooks = [FreezeLayers(["backbone"], 6)]
    hooks += [CallAt(n, lambda loop, n=n: states.update({n: copy_backbone(loop)})) for n in (9, 10)]
    make_loop(hooks, iteration=8).run()
    assert not torch.equal(states[9]["0.weight"], states[10]["0.weight"])


def test_unknown_layer_to_freeze_is_an_error(make_loop):
    with pytest.raises(InputError, match=r"MODEL.FREEZE_LAYERS 'backbon' is unknown. Did you mean 'backbone'"):
        make_loop([FreezeLayers(["backbon"], 6)]).run()


def test_unchanged_weights_are_an_error(make_loop, make_step):
    step = make_step()
    step.optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(NumericalError, match="no weight changed in 3 iterations"):
        make_loop([CheckWeightUpdates(3)], step=step).run()


def test_changing_weights_pass_the_check(make_loop):
    make_loop([CheckWeightUpdates(3)]).run()


def build_metrics_hook(folder, progress, iteration=0):
    return WriteMetrics([JSONWriter(folder, iteration=iteration)], progress, period=3)


def read_metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_metrics_are_written_each_period_and_epoch(make_loop, tmp_path):
    make_loop([build_metrics_hook(tmp_path, Progress())]).run()
    assert [line["iteration"] for line in read_metrics(tmp_path)] == [3, 4, 6, 8, 9, 12]
    assert {"total_loss", "loss_cls", "cls_accuracy", "lr", "time", "data_time", "eta_seconds"} <= set(
        read_metrics(tmp_path)[0]
    )


def test_resume_removes_later_and_truncated_metrics_lines(tmp_path):
    (tmp_path / "metrics.json").write_text('{"iteration": 4}\n{"iteration": 6}\n{"itera')
    JSONWriter(tmp_path, iteration=4)
    assert (tmp_path / "metrics.json").read_text() == '{"iteration": 4}\n'


def train(make_loop, step, folder, *, resume=False, extra_hooks=()):
    """Train with a checkpoint per epoch; return the final weights."""
    checkpointer = Checkpointer(folder, step, iters_per_epoch=4)
    progress = checkpointer.resume() if resume else Progress()
    hooks = [
        SetLearningRate(CosineSchedule(4, 3)),
        *extra_hooks,
        build_metrics_hook(folder, progress, progress.iteration),
        SaveCheckpoints(checkpointer, progress, period=1),
        StopOnSignal(checkpointer, progress),
    ]
    make_loop(hooks, step=step, iteration=progress.iteration).run()
    return step.model.state_dict()


@pytest.mark.parametrize("steps", [1, 5, 6, 8])
def test_signal_saves_and_the_resumed_run_is_identical(steps, make_loop, make_step, tmp_path):
    whole = train(make_loop, make_step(), tmp_path / "whole")
    send_signal = CallAt(steps, lambda loop: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedBySignalError) as stop:
        train(make_loop, make_step(), tmp_path / "parts", extra_hooks=[send_signal])
    assert stop.value.exit_code == 143
    parts = train(make_loop, make_step(), tmp_path / "parts", resume=True)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    first, second = read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "parts")
    timed = {"time", "data_time", "eta_seconds", "drawings_per_second", "memory_mb"}
    assert [{k: v for k, v in line.items() if k not in timed} for line in first] == [
        {k: v for k, v in line.items() if k not in timed} for line in second
    ]


def test_checkpoint_names_contain_the_zero_based_epoch(make_loop, make_step, tmp_path):
    train(make_loop, make_step(), tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["model_0000.pth", "model_0001.pth", "model_final.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_precise_batch_norm_is_the_mean_over_batches(make_loop):
    batches = list(islice(make_loop().batches, 5))
    loop = make_loop([PreciseBatchNorm(lambda num: batches[:num], 5)], max_epochs=1)
    loop.run()
    model = loop.step.model
    maps = [model.backbone[0](batch.images / 255) for batch in batches]
    expected = torch.stack([values.mean((0, 2, 3)) for values in maps]).mean(0)
    torch.testing.assert_close(model.backbone[1].running_mean, expected)


def test_bad_step_record_names_drawings_of_the_failing_process(tmp_path):
    processes = [(["c.png"], {"loss_cls": 1.0}), (["a.png", "b.png"], {"loss_cls": float("nan")})]
    record = write_bad_step_record(tmp_path, 0, processes)
    assert json.loads(record.read_text()) == {
        "iteration": 0,
        "values": {"loss_cls": "nan"},
        "drawings": ["a.png", "b.png"],
    }


def test_freezing_the_whole_model_is_an_error(make_loop):
    with pytest.raises(InputError, match="contains all parts of the model"):
        make_loop([FreezeLayers(["backbone", "heads"], 6)]).run()


def test_precise_batch_norm_skips_frozen_statistics(make_loop, make_step):
    step = make_step()
    step.model.backbone[1] = FrozenBatchNorm(4)
    step.model.backbone[1].running_mean.fill_(7)
    loop = make_loop([PreciseBatchNorm(lambda num: islice(make_loop().batches, num), 3)], step=step, max_epochs=1)
    loop.run()
    assert (step.model.backbone[1].running_mean == 7).all()


def test_nonfinite_gradient_norm_is_not_logged(make_loop, tmp_path):
    loop = make_loop()
    loop.result = StepResult({"total_loss": 1.0, "grad_norm": float("inf")}, batch=None, skipped=True)
    progress = Progress()
    build_metrics_hook(tmp_path, progress).after_step(loop)
    assert "grad_norm" not in progress.window
    assert progress.window["total_loss"] == [1.0]


def test_classes_are_sampled_by_iteration_also_after_resume(make_loop):
    class RecordingHeads(list):
        def sample_classes(self, *key):
            self.append(key)

    whole, resumed = RecordingHeads(), RecordingHeads()
    make_loop([SampleClasses(whole, seed=7)]).run()
    make_loop([SampleClasses(resumed, seed=7)], iteration=5).run()
    assert whole == [(7, step) for step in range(12)]
    assert resumed == whole[5:]


def test_weights_with_zero_learning_rate_cause_no_warning(make_loop, make_step, logged_warnings):
    step = make_step()
    [group] = step.optimizer.param_groups
    step.optimizer.add_param_group({"params": [group["params"].pop()], "lr": 0.0})
    make_loop([CheckWeightUpdates(3)], step=step).run()
    assert logged_warnings == []
