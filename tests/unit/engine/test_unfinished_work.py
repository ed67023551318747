"""A run that an error or a kill ends can be resumed from its last completed iteration, with the same results."""

import json
import math

import pytest
import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import CheckpointIndex
from fastreid.engine.hooks import SaveCheckpoints, SaveUnfinishedWork, SetLearningRate, StopOnSignal, WriteMetrics
from fastreid.engine.step.train_step import NonFiniteLossError
from fastreid.engine.train_loop import Hook
from fastreid.monitoring.writers import JSONWriter
from fastreid.solver.schedule import CosineSchedule
from fastreid.structures import Batch
from fastreid.utils.cli import explain_error
from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError, StorageError

TIMED = {"time", "data_time", "eta_seconds", "drawings_per_second", "memory_mb"}
EVAL_PERIOD = 2  # epochs of 4 iterations; the third and last one is evaluated too


class FakeEvaluation(Hook):
    """Score the weights, with random numbers as augmentation or sampling might use them."""

    def __init__(self, progress, metrics):
        self.progress, self.metrics = progress, metrics

    def after_epoch(self, loop):
        if loop.epoch % EVAL_PERIOD and loop.epoch < loop.max_epochs:
            return
        score = float(loop.step.model.heads.weight.detach().abs().sum() + torch.rand(()))
        self.metrics.scores = {"mAP": score}
        self.progress.num_bad_evaluations += 1
        self.progress.best = max(self.progress.best, score)


class FailAt(Hook):
    """Raise an error at a point of the loop."""

    def __init__(self, point="", iteration=0, error=None):
        self.point, self.iteration, self.error = point, iteration, error

    def _fail(self, point, loop):
        if (point, loop.iteration) == (self.point, self.iteration):
            raise self.error

    def before_step(self, loop):
        self._fail("before_step", loop)

    def after_step(self, loop):
        self._fail("after_step", loop)

    def after_epoch(self, loop):
        self._fail("after_epoch", loop)


def fail_in_step(step, iteration, error):
    """Make a step fail after its forward pass has changed the batch-norm statistics and used random numbers."""
    original, calls = step._backward, []

    def backward(*arguments):
        calls.append(1)
        result = original(*arguments)
        if len(calls) == iteration:
            torch.rand(3)
            raise error
        return result

    step._backward = backward


def train(make_loop, step, folder, *, fail=None, resume=False, first=None, batches=None, eval_period=EVAL_PERIOD):
    """Train for three epochs; return the final weights."""
    torch.manual_seed(7)
    checkpointer = Checkpointer(folder, step, iters_per_epoch=4)
    progress = (checkpointer.resume() if resume else None) or Progress()
    is_pending = progress.epoch_end_pending
    writer = JSONWriter(folder, iteration=progress.iteration - is_pending)
    metrics = WriteMetrics([writer], progress, period=3, batch_size=6)
    hooks = [
        SaveUnfinishedWork(checkpointer, progress, eval_period=eval_period),
        SetLearningRate(CosineSchedule(4, 3)),
        FakeEvaluation(progress, metrics),
        metrics,
        fail or FailAt(),
        SaveCheckpoints(checkpointer, progress, period=3),
        StopOnSignal(checkpointer, progress),
    ]
    progress.epoch_end_pending = False
    loop = make_loop(hooks, step=step, iteration=progress.iteration, epoch_end_pending=is_pending)
    if batches is not None:
        loop.batches = batches
    loop.run()
    return step.model.state_dict()


def read_metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMED} for line in lines]


@pytest.fixture
def whole(make_loop, make_step, tmp_path):
    """Return the weights and metrics of an uninterrupted run."""
    return train(make_loop, make_step(), tmp_path / "whole"), read_metrics(tmp_path / "whole")


def check_resumed_run(make_loop, make_step, folder, whole):
    weights = train(make_loop, make_step(), folder, resume=True)
    assert all(torch.equal(weights[name], whole[0][name]) for name in weights)
    assert read_metrics(folder) == whole[1]
    assert not list(folder.glob("model_before_evaluation*"))
    progress = torch.load(folder / "model_final.pth", weights_only=True)
    assert (progress["num_bad_evaluations"], progress["epoch_end_pending"]) == (2, False)


@pytest.mark.parametrize(
    ("point", "iteration"),
    [
        *(("before_step", iteration) for iteration in (1, 4, 7, 8)),
        *(("after_step", iteration) for iteration in (1, 4, 7, 8, 12)),
        *(("after_epoch", iteration) for iteration in (4, 8, 12)),
    ],
)
def test_error_of_a_hook_loses_nothing(point, iteration, make_loop, make_step, tmp_path, whole):
    folder = tmp_path / "failed"
    with pytest.raises(EnvironmentSetupError, match=rf"^tracker; .*model_\w+\.pth .*iteration {iteration}; continue"):
        train(make_loop, make_step(), folder, fail=FailAt(point, iteration, EnvironmentSetupError("tracker")))
    newest = CheckpointIndex(folder).names()[0]
    assert torch.load(folder / newest, weights_only=True)["iteration"] == iteration
    check_resumed_run(make_loop, make_step, folder, whole)


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("out of memory"), InputError("a.png: corrupt"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("iteration", [2, 5, 9])
def test_error_inside_a_step_loses_nothing(error, iteration, make_loop, make_step, tmp_path, whole, logged_warnings):
    step = make_step()
    fail_in_step(step, iteration, error)
    with pytest.raises(type(error)) as raised:
        train(make_loop, step, tmp_path / "failed")
    messages = [str(raised.value)] if isinstance(error, FastreidError) else logged_warnings
    assert f"iteration {iteration - 1}; continue with --resume" in messages[-1]
    check_resumed_run(make_loop, make_step, tmp_path / "failed", whole)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), torch.AcceleratorError("CUDA error: out of memory")]
)
def test_too_little_memory_of_a_gpu_saves_and_is_no_bug(error, make_loop, make_step, tmp_path, logged_warnings):
    step = make_step()
    fail_in_step(step, 6, error)
    with pytest.raises(RuntimeError) as raised:
        train(make_loop, step, tmp_path)
    assert "model_stopped.pth after iteration 5; continue with --resume" in logged_warnings[-1]
    message, code = explain_error(raised.value)
    assert code == 3
    assert "lower SOLVER.IMS_PER_BATCH" in message
    assert "with --resume, set MODEL.BACKBONE.GRADIENT_CHECKPOINTING True" in message


def test_non_finite_loss_keeps_the_weights_before_it(make_loop, make_step, tmp_path, whole):
    batches = list(zip(range(7), make_loop().batches))
    nan = batches[6][1]
    batches = [batch for _, batch in batches[:6]] + [Batch(nan.images * math.nan, nan.targets, nan.rows)]
    with pytest.raises(NonFiniteLossError, match=r"saved .*model_stopped\.pth after iteration 6"):
        train(make_loop, make_step(), tmp_path / "failed", batches=batches)
    check_resumed_run(make_loop, make_step, tmp_path / "failed", whole)


@pytest.mark.parametrize("iteration", [8, 12])
def test_kill_during_an_evaluation_repeats_it(iteration, make_loop, make_step, tmp_path, whole):
    with pytest.raises(SystemExit):
        train(make_loop, make_step(), tmp_path / "failed", fail=FailAt("after_epoch", iteration, SystemExit()))
    [name] = CheckpointIndex(tmp_path / "failed").names()[:1]
    assert name == "model_before_evaluation.pth"
    check_resumed_run(make_loop, make_step, tmp_path / "failed", whole)


def test_same_iteration_is_not_written_twice(make_loop, make_step, tmp_path, monkeypatch):
    saved = []
    original = Checkpointer._write
    monkeypatch.setattr(
        Checkpointer, "_write", lambda self, path, *a, **k: (saved.append(path.name), original(self, path, *a, **k))
    )
    with pytest.raises(InputError, match=r"model_before_evaluation\.pth contains iteration 8; continue with --resume"):
        train(make_loop, make_step(), tmp_path, fail=FailAt("after_epoch", 8, InputError("scores")))
    assert saved == ["model_before_evaluation.pth"]


def test_error_before_the_first_step_saves_nothing(make_loop, make_step, tmp_path):
    step = make_step()
    fail_in_step(step, 1, InputError("a.png: corrupt"))
    with pytest.raises(InputError, match=r"^a\.png: corrupt$"):
        train(make_loop, step, tmp_path)
    assert list(tmp_path.glob("*.pth")) == []


def test_interrupted_update_is_not_saved(make_loop, make_step, tmp_path, logged_warnings):
    step = make_step()
    original, calls = step.optimizer.step, []

    def fail_in_update(*arguments, **options):
        calls.append(1)
        original(*arguments, **options)
        if len(calls) == 3:
            raise RuntimeError("CUDA error")

    step.optimizer.step = fail_in_update
    with pytest.raises(RuntimeError, match="CUDA error"):
        train(make_loop, step, tmp_path)
    assert not list(tmp_path.glob("*.pth"))
    assert "iteration 3 was changing the weights" in logged_warnings[-1]


def test_weights_that_are_not_finite_are_not_saved(make_loop, make_step, tmp_path, logged_warnings):
    step = make_step()

    class Spoil(Hook):
        def after_step(self, loop):
            loop.step.model.heads.weight.data.fill_(math.nan)
            raise InputError("a hook failed")

    with pytest.raises(InputError, match=r"^a hook failed$"):
        train(make_loop, step, tmp_path, fail=Spoil())
    assert not list(tmp_path.glob("*.pth"))
    assert "1 tensors contain NaN or Inf" in logged_warnings[-1]


def test_full_disk_is_reported_with_the_original_error(make_loop, make_step, tmp_path, monkeypatch, logged_warnings):
    def fail_to_write(self, path, *arguments, **options):
        raise StorageError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(Checkpointer, "_write", fail_to_write)
    with pytest.raises(InputError, match=r"^a hook failed$"):
        train(make_loop, make_step(), tmp_path, fail=FailAt("after_step", 2, InputError("a hook failed")))
    assert "no checkpoint is saved after the error" in logged_warnings[-1]
