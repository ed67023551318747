"""Early stopping of a training run."""

from commands import TINY, run_here

from fastreid.engine.hooks.evaluation import Evaluate


def test_stopped_run_is_finished_and_resumes_with_more_patience(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluate, "_test", lambda self, model, loop, **more: {"mAP@10": 50.0 - loop.epoch})
    settings = ("TEST.NUM_VISUALIZED_QUERIES", 0, "SOLVER.SAVE_TOP_K", 2, "SOLVER.MAX_EPOCH", 4)
    arguments = ("--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", *settings)
    for patience, message in (
        (1, "early stopping after epoch 2"),
        (1, "EARLY_STOP_PATIENCE stopped it after 2"),
        (2, "after epoch 3"),
    ):
        code, output, errors = run_here("train", *arguments, "SOLVER.EARLY_STOP_PATIENCE", patience, folder=tmp_path)
        assert code == 0, errors
        assert message in output
    names = sorted(path.name for path in (tmp_path / "run").glob("model_*.pth"))
    assert names == [
        "model_0000.pth",
        "model_best.pth",
        "model_best_0000_49.00.pth",
        "model_best_0001_48.00.pth",
        "model_final.previous.pth",  # the end of the first run
        "model_final.pth",
    ]
