from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import archive_previous_run
from fastreid.engine.hooks import EarlyStopping, Evaluate, SaveBestModels, SaveCheckpoints, WriteMetrics
from fastreid.engine.processes.agreement import check_processes_agree
from fastreid.engine.resume.data_fingerprint import compute_fingerprint
from fastreid.engine.run_checks import check_evaluation_period
from fastreid.engine.setup import load_config
from fastreid.engine.train_loop import Hook
from fastreid.structures import SYNTHETIC_PREFIX, Drawing
from fastreid.utils.errors import InputError

TINY = Path(__file__).parents[2] / "end_to_end/resnet.yml"


class FixedScores:
    """Tester that returns the given score after each epoch."""

    name = "fixed"

    def __init__(self, scores):
        self.scores, self.calls = list(scores), 0

    def test(self, model):
        self.calls += 1
        return SimpleNamespace(scores={"mAP": self.scores[self.epoch(model) - 1]})

    def epoch(self, model):
        return int(model.backbone[1].num_batches_tracked) // 4

    def log_scores(self, evaluation):
        pass

    def write_scores(self, evaluation, folder, **origin):
        pass

    def plot_rankings(self, evaluation):
        return None


class InterruptAfterEpoch(Hook):
    def __init__(self, epoch):
        self.epoch = epoch

    def after_epoch(self, loop):
        if loop.epoch == self.epoch:
            raise KeyboardInterrupt


def train(
    make_loop, step, folder, *, scores, patience=0, num_models=0, period=1, resume=False, interrupt=0, rerun=False
):
    """Train for six epochs, or resume; return the progress and the loop."""
    checkpointer = Checkpointer(folder, step, iters_per_epoch=4)
    progress = checkpointer.resume() if resume else Progress()
    best = SaveBestModels(checkpointer, progress, num_models=num_models, period=period)
    tester = FixedScores(scores)
    evaluate = Evaluate(
        [tester],
        progress,
        period=1,
        select_by="mAP",
        checkpointer=checkpointer,
        metrics=WriteMetrics([], progress, period=9),
        best_models=best if num_models else None,
    )
    early = EarlyStopping(progress, patience=patience, period=1, rerun_hooks=[evaluate] if rerun else [])
    save = SaveCheckpoints(checkpointer, progress, period=period)
    hooks = [
        evaluate,
        *([early] if patience else []),
        InterruptAfterEpoch(interrupt),
        save,
        *([best] if num_models else []),
    ]
    loop = make_loop(hooks, step=step, iteration=progress.iteration, max_epochs=6)
    try:
        loop.run()
    except KeyboardInterrupt:
        assert loop.epoch == interrupt
    return progress, loop


def best_files(folder):
    return sorted(path.name for path in folder.glob("model_best_*.pth"))


def test_run_stops_after_patience_evaluations_without_improvement(make_loop, make_step, tmp_path):
    progress, loop = train(make_loop, make_step(), tmp_path, scores=[30, 40, 40, 39, 50, 60], patience=2)
    assert (loop.epoch, progress.best, progress.num_bad_evaluations, progress.stopped_early) == (4, 40, 2, True)
    assert (tmp_path / "model_final.pth").is_file()
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_better_score_resets_the_patience(make_loop, make_step, tmp_path):
    _, loop = train(make_loop, make_step(), tmp_path, scores=[30, 29, 31, 30, 32, 31], patience=2)
    assert loop.epoch == 6


def test_resumed_run_stops_early_at_the_same_epoch(make_loop, make_step, tmp_path):
    scores = [40, 30, 30, 30, 50, 60]
    train(make_loop, make_step(), tmp_path, scores=scores, patience=3, interrupt=3)
    progress, loop = train(make_loop, make_step(), tmp_path, scores=scores, patience=3, resume=True)
    assert (loop.epoch, progress.num_bad_evaluations) == (4, 3)


def test_early_stopping_reruns_the_hooks_of_the_last_epoch(make_loop, make_step, tmp_path):
    class Improving(FixedScores):
        def test(self, model):
            return SimpleNamespace(scores={"mAP": super().test(model).scores["mAP"] + 20 * (self.calls > 4)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "FixedScores", Improving)
        progress, loop = train(
            make_loop, make_step(), tmp_path, scores=[40, 30, 30, 30, 9, 9], patience=3, num_models=2, rerun=True
        )
    assert (loop.epoch, progress.best, progress.num_bad_evaluations, progress.stopped_early) == (4, 50, 3, True)
    assert best_files(tmp_path) == ["model_best_0000_40.00.pth", "model_best_0003_50.00.pth"]


def test_best_models_are_kept_and_ties_go_to_the_earlier(make_loop, make_step, tmp_path):
    progress, _ = train(make_loop, make_step(), tmp_path, scores=[30, 45.678, 40, 20, 40, 10], num_models=2)
    assert best_files(tmp_path) == ["model_best_0001_45.68.pth", "model_best_0002_40.00.pth"]
    assert list(progress.best_models.values()) == [45.678, 40]
    state = torch.load(tmp_path / "model_best_0002_40.00.pth", weights_only=True)
    assert state["model"]["backbone.1.num_batches_tracked"] == 12


@pytest.mark.parametrize(
    "interrupt",
    [1, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (2, 3)), 4, 5],  # before, after 2 checkpoints
)
def test_resumed_run_keeps_the_same_best_models(interrupt, make_loop, make_step, tmp_path):
    scores = [30, 20, 40, 50, 25, 35]
    whole, _ = train(make_loop, make_step(), tmp_path / "whole", scores=scores, num_models=2, period=2)
    train(make_loop, make_step(), tmp_path / "parts", scores=scores, num_models=2, period=2, interrupt=interrupt)
    resume = (tmp_path / "parts/last_checkpoint").is_file()
    parts, _ = train(make_loop, make_step(), tmp_path / "parts", scores=scores, num_models=2, period=2, resume=resume)
    assert parts == whole
    assert best_files(tmp_path / "parts") == best_files(tmp_path / "whole")
    assert len(list((tmp_path / "parts").glob("model_best_*.sha256"))) == 2
    for name in best_files(tmp_path / "whole"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_deleted_best_model_no_longer_counts(make_loop, make_step, tmp_path):
    scores = [50, 40, 30, 20, 10, 5]
    train(make_loop, make_step(), tmp_path, scores=scores, num_models=2, interrupt=3)
    (tmp_path / "model_best_0000_50.00.pth").unlink()
    train(make_loop, make_step(), tmp_path, scores=scores, num_models=2, resume=True)
    assert best_files(tmp_path) == ["model_best_0001_40.00.pth", "model_best_0002_30.00.pth"]


def test_new_run_archives_the_previous_best_models(tmp_path):
    for name in ("model_best_0001_40.00.pth", "model_best_0000_9.00.previous.pth", "model_best_average.previous.pth"):
        (tmp_path / name).touch()
    (tmp_path / "model_best_0001_40.00.pth.sha256").write_text("0" * 64)
    archive_previous_run(tmp_path)
    assert (tmp_path / "model_best_0001_40.00.previous.pth.sha256").is_file()
    assert best_files(tmp_path) == ["model_best_0001_40.00.previous.pth", "model_best_average.previous.pth"]


def test_early_stopping_requires_evaluations():
    with pytest.raises(InputError, match=r"EARLY_STOP_PATIENCE is 2 evaluations and TEST.EVAL_PERIOD is 0"):
        check_evaluation_period(load_config(TINY, ["SOLVER.EARLY_STOP_PATIENCE", "2", "TEST.EVAL_PERIOD", "0"]))


def test_best_models_of_the_previous_checkpoint_are_kept(make_loop, make_step, tmp_path):
    scores = [10, 20, 30, 40, 50, 60]
    train(make_loop, make_step(), tmp_path, scores=scores, num_models=1, interrupt=4)
    assert best_files(tmp_path) == [
        "model_best_0001_20.00.pth",
        "model_best_0002_30.00.pth",
        "model_best_0003_40.00.pth",
    ]


@pytest.mark.parametrize(("whitening", "best"), [("a" * 64, 50.0), ("b" * 64, -1.0)])
def test_another_whitening_file_resets_the_scores(make_step, tmp_path, logged_warnings, whitening, best):
    def build(whitening):
        drawings = [Drawing(f"{SYNTHETIC_PREFIX}0", "0.png", "1")]
        data = compute_fingerprint(drawings, {}, whitening=whitening)
        return Checkpointer(tmp_path, make_step(), iters_per_epoch=4, data=data)

    build("a" * 64).save("model_0000.pth", Progress(4, metric=50.0, best=50.0, best_epoch=0))
    assert build(whitening).resume().best == best
    assert ["the content of TEST.WHITEN.LEARN_FROM: earlier" in line for line in logged_warnings] == [True] * (best < 0)


def test_processes_with_other_whitening_files_are_an_error(monkeypatch):
    drawings = [Drawing(f"{SYNTHETIC_PREFIX}0", "0.png", "1")]
    main, own = (compute_fingerprint(drawings, {}, whitening=digest * 64) for digest in "ab")
    monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: 2)
    monkeypatch.setattr("fastreid.utils.comm.get_rank", lambda: 1)
    monkeypatch.setattr("fastreid.utils.comm.broadcast_object", lambda value: (main.state, "SEED: 0\n"))
    monkeypatch.setattr("fastreid.utils.comm.all_gather_object", lambda value: ["", value])
    check_processes_agree(main, "SEED: 0\n")
    with pytest.raises(InputError, match=r"process 1 .*: the content of TEST\.WHITEN\.LEARN_FROM differs"):
        check_processes_agree(own, "SEED: 0\n")
