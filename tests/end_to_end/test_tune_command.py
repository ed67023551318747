"""`fastreid tune` on saved features, and a test with the config that it writes."""

import csv
import json
import os
import shutil
import sys

import pytest
from commands import TINY, run_here


@pytest.fixture(scope="module")
def features(drawings, trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    arguments = ("DATASETS.ROOT", drawings, "MODEL.WEIGHTS", trained / "model_best.pth", "OUTPUT_DIR", "out")
    code, _, errors = run_here("extract", "--config-file", TINY, "--split", "all", *arguments, folder=folder)
    assert code == 0, errors
    return folder / "out/features/Generated"


def tune(features, folder, *options):
    grid = ("--expansion-k", "2,4", "--expansion-alpha", "1", "--k1", "4,8", "--k2", "2", "--lambda", "0.1,0.5")
    return run_here("tune", "--config-file", "tiny.yml", "--features", features, *grid, *options, folder=folder)


def test_best_trial_is_a_valid_config(features, tmp_path):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    kept = {"METRIC": "euclidean", "AQE.QE_TIME": 2, "RERANK.FORM": "paper", "RERANK.TOP_N": 12, "WHITEN.ENABLED": True}
    kept |= {"WHITEN.LEARN_FROM": "train", "STEPS": "['RERANK', 'AQE', 'WHITEN']", "AQE.ENABLED": True}
    settings = [word for key, value in kept.items() for word in (f"TEST.{key}", value)]
    options = ("--output", tmp_path / "best/tuned.yml", *settings, "OUTPUT_DIR", "tuned")
    code, output, errors = tune(features, tmp_path, *options)
    assert code == 0, errors
    assert "trial 1 of up to 29: plain search: mAP@10" in output
    with open(tmp_path / "tuned/tuning.csv", newline="") as file:
        trials = list(csv.DictReader(file))
    assert {trial["AQE.QE_TIME"] for trial in trials if trial["AQE.ENABLED"] == "True"} == {"2"}
    reranked = {(trial["RERANK.FORM"], trial["RERANK.TOP_N"]) for trial in trials if trial["RERANK.ENABLED"] == "True"}
    assert reranked == {("paper", "12")}
    assert {trial["num_queries"] for trial in trials} == {"16"}
    assert output.splitlines()[-1].startswith(f"{tmp_path}/best/tuned.yml: mAP@10 {float(trials[0]['mAP@10']):.2f}, ")
    arguments = ("--features", features, "OUTPUT_DIR", "ranked", "TEST.SCORE.PER_QUERY_FILE", "queries.csv")
    code, output, errors = run_here("test", "--config-file", tmp_path / "best/tuned.yml", *arguments, folder=tmp_path)
    assert code == 0, errors
    [line] = [line.split() for line in output.splitlines() if line.startswith("mAP@10 ")]
    assert f"{float(trials[0]['mAP@10']):.2f}" in line
    with open(tmp_path / "ranked/queries.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 16


def test_negatives_are_left_out_without_training_features(features, tmp_path):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    shutil.copytree(features, tmp_path / "features")
    (tmp_path / "features/train.npy").unlink()
    code, output, errors = tune("features", tmp_path, "--steps", "NEGATIVE", "OUTPUT_DIR", "tuned")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "TEST.NEGATIVE subtracts features of training drawings, but there are no features" in errors
    options = ("--sides", "queries", "--k1", "4", "--lambda", "0.1", "--superglobal-k", "5", "TEST.SCORE.BOOTSTRAP", 0)
    code, output, errors = tune("features", tmp_path, *options, "OUTPUT_DIR", "tuned")
    assert code == 0, errors
    assert "features: NEGATIVE is not tuned, because there are no features of training drawings" in output
    with open(tmp_path / "tuned/tuning.csv", newline="") as file:
        trials = list(csv.DictReader(file))
    assert {trial["NEGATIVE.ENABLED"] for trial in trials} == {"False"}
    assert {trial["SUPERGLOBAL.BETA"] for trial in trials if trial["SUPERGLOBAL.ENABLED"] == "True"} == {"0.15", "0.5"}
    code, output, errors = tune(features, tmp_path, *options, "DATASETS.COMBINEALL", True, "OUTPUT_DIR", "combined")
    assert code == 0, errors
    assert "NEGATIVE is not tuned: TEST.NEGATIVE would subtract the test drawings from themselves" in output


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("TEST.ROC.ENABLED", True), "TEST.ROC needs distances that are comparable between queries"),
        (("TEST.TOP_K", 500), "TOP_N) must be at least top_k (TEST.TOP_K) 500, not 400"),
    ],
)
def test_super_global_is_left_out_if_settings_do_not_allow_it(settings, reason, features, tmp_path):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    options = ("TEST.SCORE.BOOTSTRAP", 0, "TEST.SELECT_BY", "mAP", *settings, "OUTPUT_DIR", "tuned")
    code, output, errors = tune(features, tmp_path, *options)
    assert code == 0, errors
    assert "SUPERGLOBAL is not tuned: " in output
    assert reason in output
    with open(tmp_path / "tuned/tuning.csv", newline="") as file:
        trials = list(csv.DictReader(file))
    for step, tried in (("NEGATIVE", True), ("AQE", True), ("RERANK", True), ("SUPERGLOBAL", False)):
        assert ("True" in {trial[f"{step}.ENABLED"] for trial in trials}) == tried, step
    code, _, errors = tune(features, tmp_path, "--steps", "AQE,SUPERGLOBAL", *options)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert reason in errors
    assert errors.endswith("; or leave SUPERGLOBAL out of --steps\n")


def test_enabled_steps_that_are_not_tuned_stay_enabled(features, tmp_path):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    negatives = ("TEST.NEGATIVE.ENABLED", True, "TEST.NEGATIVE.BETA", 0.9, "TEST.SCORE.BOOTSTRAP", 0)
    code, _, errors = tune(features, tmp_path, "--steps", "AQE,RERANK", *negatives, "OUTPUT_DIR", "tuned")
    assert code == 0, errors
    with open(tmp_path / "tuned/tuning.csv", newline="") as file:
        best, *_ = trials = list(csv.DictReader(file))
    assert "NEGATIVE.ENABLED" not in best
    plain = next(trial for trial in trials if (trial["AQE.ENABLED"], trial["RERANK.ENABLED"]) == ("False", "False"))
    for config, options, expected in (("tiny.yml", negatives, plain), ("tuned/tuned.yml", (), best)):
        arguments = ("--features", features, *options, "OUTPUT_DIR", "ranked")
        code, output, errors = run_here("test", "--config-file", tmp_path / config, *arguments, folder=tmp_path)
        assert code == 0, errors
        assert "- negatives" in output
        scores = json.loads((tmp_path / "ranked/scores.json").read_text())["scores"]
        assert scores["mAP"] == float(expected["mAP"])
    code, _, errors = tune(features, tmp_path, "--steps", "AQE", "TEST.RERANK.ENABLED", True, "OUTPUT_DIR", "tuned")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "TEST.RERANK.ENABLED is True, but no step can be tuned after RERANK; add RERANK to --steps, or set" in errors


def test_subset_of_queries_without_bootstrap(features, tmp_path):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    arguments = ("--queries", "5", "--steps", "AQE", "TEST.SCORE.BOOTSTRAP", 0, "OUTPUT_DIR", "tuned")
    code, output, errors = tune(features, tmp_path, *arguments)
    assert code == 0, errors
    assert "95 %" not in output
    with open(tmp_path / "tuned/tuning.csv", newline="") as file:
        trials = list(csv.DictReader(file))
    assert {(trial["num_queries"], trial["RERANK.ENABLED"], trial["gain_low"]) for trial in trials} == {
        ("5", "False", "")
    }


def test_grid_is_checked_before_features_are_read(features, tmp_path, monkeypatch):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    monkeypatch.delattr("fastreid.engine.evaluate_saved.load_features")
    code, _, errors = tune(features, tmp_path, "TEST.SELECT_BY", "mAP@1", "OUTPUT_DIR", "tuned")
    assert (code, len(errors.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--output", "/proc/none/tuned.yml"], 5, "/proc/none/tuned.yml: cannot be written"),
        (["--output", "tiny.yml"], 2, "--output tiny.yml is the config itself or the table of trials"),
        (["--output", "tuned/tuning.csv"], 2, "is the config itself or the table of trials"),
        (["--output", os.fsdecode(b"\xe4.yml")], 2, "contains characters that are not text"),
        (["--random-weights"], 2, "fastreid tune: unknown option '--random-weights'"),
        (["MODEL.WEIGHTS", "other.pth"], 2, "not with MODEL.WEIGHTS other.pth"),
        (["--output", "."], 5, ".: is a folder, but must be a file"),
        (["--top-n", "4"], 2, "top_n (TEST.RERANK.TOP_N) must be at least top_k (TEST.TOP_K) 10, not 4"),
        (["--steps", "AQE,NEGATIVE", "DATASETS.COMBINEALL", True], 2, "or leave NEGATIVE out of --steps"),
        (["--steps", "AQE,FUSE"], 2, "argument --steps: 'AQE,FUSE' is invalid; it must be items separated by commas"),
        (["--expansion-k", ""], 2, "argument --expansion-k: '' is invalid; it must be items separated by commas, each"),
        (["--k1", "2", "--k2", "5"], 2, "k2 must be at most k1, so some values of k1 2 and k2 5 are never used"),
        (["TEST.SELECT_BY", "mAP@1"], 2, "TEST.SELECT_BY 'mAP@1' is unknown. Did you mean 'mAP@10'"),
        (["--sides", "querie"], 2, "each both, queries or gallery, such as both,queries. Did you mean 'queries'?"),
        (["--k1", "4,x"], 2, "argument --k1: '4,x' is invalid; it must be items separated by commas, each an integer"),
        (["--features", "nowhere"], 2, "nowhere: no such folder of features"),
        (["--queries", "-3"], 2, "argument --queries: '-3' is invalid; it must be an integer >= 0, such as 0 for all"),
    ],
)
def test_invalid_command_is_one_line(options, code, message, features, tmp_path):
    (tmp_path / "tiny.yml").write_text(TINY.read_text())
    exit_code, output, errors = tune(features, tmp_path, *options, "OUTPUT_DIR", "tuned")
    assert (exit_code, len(errors.splitlines())) == (code, 1), output + errors
    assert message in errors
    assert not (tmp_path / "tuned/tuned.yml").exists()


def test_missing_parquet_extra_fails_before_any_work(features, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    arguments = ("--features", features, "OUTPUT_DIR", "ranked", "TEST.SCORE.PER_QUERY_FILE", "queries.parquet")
    code, _, errors = run_here("test", "--config-file", TINY, *arguments, folder=tmp_path)
    assert (code, len(errors.splitlines())) == (3, 1)
    assert "pip install pyarrow, or name it .csv" in errors
    assert not (tmp_path / "result.npy").exists()
