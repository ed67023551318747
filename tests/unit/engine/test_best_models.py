from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.hooks.basic import SaveCheckpoints, WriteMetrics
from fastreid.engine.hooks.best_models import SaveBestModels, EarlyStopping, set_aside
from fastreid.engine.hooks.evaluation import Evaluate
from fastreid.engine.setup import load_config
from fastreid.engine.train_loop import Hook
from fastreid.engine.trainer import _check_early_stopping
from fastreid.utils.errors import InputError

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"


class Told:
    """A test whose score after each epoch is told beforehand."""

    name = "told"

    def __init__(self, scores):
        self.scores, self.calls = list(scores), 0

    def test(self, model):
        self.calls += 1
        return SimpleNamespace(scores={"mAP": self.scores[self.epoch(model) - 1]})

    def epoch(self, model):
        return int(model.backbone[1].num_batches_tracked) // 4

    def log_scores(self, evaluation):
        pass

    def sheet(self, evaluation):
        return None


class Break(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def after_epoch(self, loop):
        if loop.epoch == self.epoch:
            raise KeyboardInterrupt


def train(toy_loop, step, folder, *, scores, patience=0, num=0, checkpoints=1, resume=False, stop=0, again=False):
    """A run of six epochs, or on to them; its progress and its loop."""
    checkpointer = Checkpointer(folder, step, iters_per_epoch=4)
    progress = checkpointer.resume() if resume else Progress()
    best = SaveBestModels(checkpointer, progress, num=num, period=checkpoints)
    tester = Told(scores)
    evaluate = Evaluate(
        [tester],
        progress,
        period=1,
        select_by="mAP",
        checkpointer=checkpointer,
        metrics=WriteMetrics([], progress, period=9),
        best=best if num else None,
    )
    early = EarlyStopping(progress, patience=patience, period=1, again=[evaluate] if again else [])
    save = SaveCheckpoints(checkpointer, progress, period=checkpoints)
    hooks = [evaluate, *([early] if patience else []), Break(stop), save, *([best] if num else [])]
    loop = toy_loop(hooks, step=step, iteration=progress.iteration, max_epochs=6)
    try:
        loop.run()
    except KeyboardInterrupt:
        assert loop.epoch == stop
    return progress, loop


def best_files(folder):
    return sorted(path.name for path in folder.glob("model_best_*.pth"))


def test_a_run_ends_after_so_many_evaluations_that_were_not_better(toy_loop, toy_step, tmp_path):
    progress, loop = train(toy_loop, toy_step(), tmp_path, scores=[30, 40, 40, 39, 50, 60], patience=2)
    assert (loop.epoch, progress.best, progress.num_bad_evaluations, progress.stopped_early) == (4, 40, 2, True)
    assert (tmp_path / "model_final.pth").is_file()
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_a_better_score_begins_the_count_anew(toy_loop, toy_step, tmp_path):
    _, loop = train(toy_loop, toy_step(), tmp_path, scores=[30, 29, 31, 30, 32, 31], patience=2)
    assert loop.epoch == 6


def test_a_run_that_was_stopped_ends_at_the_same_epoch(toy_loop, toy_step, tmp_path):
    scores = [40, 30, 30, 30, 50, 60]
    train(toy_loop, toy_step(), tmp_path, scores=scores, patience=3, stop=3)
    progress, loop = train(toy_loop, toy_step(), tmp_path, scores=scores, patience=3, resume=True)
    assert (loop.epoch, progress.num_bad_evaluations) == (4, 3)


def test_what_belongs_to_the_last_epoch_is_done_where_a_run_ends_early_and_does_not_let_it_go_on(
    toy_loop, toy_step, tmp_path
):
    class Grows(Told):
        def test(self, model):
            return SimpleNamespace(scores={"mAP": super().test(model).scores["mAP"] + 20 * (self.calls > 4)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "Told", Grows)
        progress, loop = train(
            toy_loop, toy_step(), tmp_path, scores=[40, 30, 30, 30, 9, 9], patience=3, num=2, again=True
        )
    assert (loop.epoch, progress.best, progress.num_bad_evaluations, progress.stopped_early) == (4, 50, 3, True)
    assert best_files(tmp_path) == ["model_best_0000_40.00.pth", "model_best_0003_50.00.pth"]


def test_the_best_models_are_kept_and_the_earlier_of_equals(toy_loop, toy_step, tmp_path):
    progress, _ = train(toy_loop, toy_step(), tmp_path, scores=[30, 45.678, 40, 20, 40, 10], num=2)
    assert best_files(tmp_path) == ["model_best_0001_45.68.pth", "model_best_0002_40.00.pth"]
    assert list(progress.best_models.values()) == [45.678, 40]
    state = torch.load(tmp_path / "model_best_0002_40.00.pth", weights_only=True)
    assert state["model"]["backbone.1.num_batches_tracked"] == 12


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_run_that_was_stopped_anywhere_keeps_the_same_models(stop, toy_loop, toy_step, tmp_path):
    scores = [30, 20, 40, 50, 25, 35]
    whole, _ = train(toy_loop, toy_step(), tmp_path / "whole", scores=scores, num=2, checkpoints=2)
    train(toy_loop, toy_step(), tmp_path / "parts", scores=scores, num=2, checkpoints=2, stop=stop)
    resume = (tmp_path / "parts/last_checkpoint").is_file()
    parts, _ = train(toy_loop, toy_step(), tmp_path / "parts", scores=scores, num=2, checkpoints=2, resume=resume)
    assert parts == whole
    assert best_files(tmp_path / "parts") == best_files(tmp_path / "whole")
    assert len(list((tmp_path / "parts").glob("model_best_*.sha256"))) == 2
    for name in best_files(tmp_path / "whole"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_kept_model_that_somebody_removed_counts_no_longer(toy_loop, toy_step, tmp_path):
    scores = [50, 40, 30, 20, 10, 5]
    train(toy_loop, toy_step(), tmp_path, scores=scores, num=2, stop=3)
    (tmp_path / "model_best_0000_50.00.pth").unlink()
    train(toy_loop, toy_step(), tmp_path, scores=scores, num=2, resume=True)
    assert best_files(tmp_path) == ["model_best_0001_40.00.pth", "model_best_0002_30.00.pth"]


def test_a_new_run_sets_the_kept_models_of_the_one_before_aside(tmp_path):
    for name in ("model_best_0001_40.00.pth", "model_best_0000_9.00.previous.pth", "model_best_average.previous.pth"):
        (tmp_path / name).touch()
    (tmp_path / "model_best_0001_40.00.pth.sha256").write_text("0" * 64)
    set_aside(tmp_path)
    assert (tmp_path / "model_best_0001_40.00.previous.pth.sha256").is_file()
    assert best_files(tmp_path) == ["model_best_0001_40.00.previous.pth", "model_best_average.previous.pth"]


def test_an_end_by_scores_is_refused_where_there_are_none():
    with pytest.raises(InputError, match="EARLY_STOP_PATIENCE is 2 evaluations and TEST"):
        _check_early_stopping(load_config(TINY, ["SOLVER.EARLY_STOP_PATIENCE", "2", "TEST.EVAL_PERIOD", "0"]))


def test_the_checkpoint_before_the_last_finds_its_models_too(toy_loop, toy_step, tmp_path):
    scores = [10, 20, 30, 40, 50, 60]
    train(toy_loop, toy_step(), tmp_path, scores=scores, num=1, stop=4)
    assert best_files(tmp_path) == [
        "model_best_0001_20.00.pth",
        "model_best_0002_30.00.pth",
        "model_best_0003_40.00.pth",
    ]
