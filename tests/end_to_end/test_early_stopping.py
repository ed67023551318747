"""A run that its scores end."""

from commands import TINY, run_here

from fastreid.engine.hooks.evaluation import Evaluate


def test_a_run_that_its_scores_end_is_finished_and_goes_on_with_more_patience(drawings, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluate, "_test", lambda self, model, loop, **more: {"mAP@10": 50.0 - loop.epoch})
    few = ("TEST.NUM_VISUALIZED_QUERIES", 0, "SOLVER.SAVE_TOP_K", 2, "SOLVER.MAX_EPOCH", 4)
    words = ("--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", *few)
    for patience, told in (
        (1, "early stopping after epoch 2"),
        (1, "EARLY_STOP_PATIENCE stopped it after 2"),
        (2, "after epoch 3"),
    ):
        code, output, errors = run_here("train", *words, "SOLVER.EARLY_STOP_PATIENCE", patience, folder=tmp_path)
        assert code == 0, errors
        assert told in output
    names = sorted(path.name for path in (tmp_path / "run").glob("model_*.pth"))
    assert names == [
        "model_0000.pth",
        "model_best.pth",
        "model_best_0000_49.00.pth",
        "model_best_0001_48.00.pth",
        "model_final.previous.pth",  # the end that was gone on from
        "model_final.pth",
    ]
