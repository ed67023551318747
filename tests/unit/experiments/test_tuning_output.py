import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastreid.config import get_cfg
from fastreid.engine.setup import load_config
from fastreid.evaluation import ExpansionSettings, RerankSettings
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.postprocess.local_rerank import LocalSettings
from fastreid.evaluation.postprocess.negatives import NegativeSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalSettings
from fastreid.evaluation.postprocess.tuning_grid import Trial
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.evaluation.steps import Expand, Rerank, RerankLocal, RerankSuperGlobal, SubtractNegatives
from fastreid.experiments.tuning import format_tuned_config, write_trials
from fastreid.utils.files import write_text

EXPANSION = ExpansionSettings(k=3, alpha=2.0, gallery_too=False)
TUNED = ("TEST.NEGATIVE", "TEST.AQE", "TEST.RERANK", "TEST.SUPERGLOBAL", "TEST.LOCAL", "TEST.STEPS")
RERANKING = RerankSettings(k1=8, k2=2, lambda_value=0.1, top_n=50)


def trial(expansion, reranking, value):
    scores = QueryScores({"mAP": np.array([value])}, np.array([0]), np.array([1]), np.array([1.0]), {})
    return Trial(expansion, reranking, scores, value, (0.5, 1.5))


def tuned_config(trials, cfg):
    return format_tuned_config(
        trials,
        path="tuned.yml",
        settings=cfg.changes(),
        steps=cfg.TEST.STEPS,
        base_config="base.yml",
        select_by="mAP",
    )


def leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_tuned_config_builds_the_best_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {METRIC: euclidean}\n")
    options = (
        "TEST.STEPS",
        "['RERANK', 'AQE', 'WHITEN']",
        "MODEL.BACKBONE.DEPTH",
        "101x",
        "TEST.RERANK.K1",
        "77",
        "INPUT.SIZE_TEST",
        "[64, 64]",
    )
    tried = load_config("base.yml", options)
    write_text("elsewhere/tuned.yml", tuned_config([trial(EXPANSION, RERANKING, 40.0)], tried))
    cfg = load_config("elsewhere/tuned.yml")
    before, after = (dict(pair for pair in leaves(tree) if not pair[0].startswith(TUNED)) for tree in (tried, cfg))
    assert before == after
    order = ("WHITEN", "NEGATIVE", "AQE", "RERANK", "SUPERGLOBAL", "LOCAL")  # of the trials, independent of TEST.STEPS
    assert tuple(cfg.TEST.STEPS) == order
    assert build_evaluator(cfg).steps == (Expand(EXPANSION), Rerank(RERANKING))
    assert cfg.TEST.METRIC == "euclidean"
    text = Path("elsewhere/tuned.yml").read_text()
    assert "mAP 40.00" in text
    assert "+0.50 to +1.50 over plain search (95 % confidence interval)" in text


def test_tuned_config_contains_negatives_and_super_global(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {RERANK: {ENABLED: True}}\n")
    negatives, reranking = NegativeSettings(5, 0.2, 2), SuperGlobalSettings(50, 4, 0.5)
    best = replace(trial(EXPANSION, reranking, 40.0), negatives=negatives)
    write_text("tuned.yml", tuned_config([best], load_config("base.yml")))
    steps = (SubtractNegatives(negatives), Expand(EXPANSION), RerankSuperGlobal(reranking))
    assert build_evaluator(load_config("tuned.yml")).steps == steps
    write_trials(tmp_path / "tuning.csv", [best])
    with open(tmp_path / "tuning.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["NEGATIVE.K"], row["NEGATIVE.BETA"], row["NEGATIVE.TIMES"]) == ("5", "0.2", "2")
    assert (row["SUPERGLOBAL.TOP_N"], row["SUPERGLOBAL.K"], row["RERANK.ENABLED"]) == ("50", "4", "False")


def test_tuned_config_contains_local_features(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {RERANK: {ENABLED: True}}\n")
    best = trial(None, LocalSettings(50, 0.5, 32), 40.0)
    assert str(best) == "local features of 32 components, weight 0.5"
    write_text("tuned.yml", tuned_config([best], load_config("base.yml")))
    assert build_evaluator(load_config("tuned.yml")).steps == (RerankLocal(LocalSettings(50, 0.5, 32)),)


def test_tuned_config_keeps_enabled_steps_that_are_not_tuned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {AQE: {ENABLED: True, QE_K: 4}, STEPS: [FUSE, AQE, NEGATIVE, RERANK]}\n")
    negatives, cfg = NegativeSettings(5, 0.2, 2), load_config("base.yml")
    best = replace(trial(None, RERANKING, 40.0), negatives=negatives)
    options = {"path": "tuned.yml", "base_config": "base.yml", "select_by": "mAP", "untuned": ["AQE"]}
    write_text("tuned.yml", format_tuned_config([best], settings=cfg.changes(), steps=cfg.TEST.STEPS, **options))
    [expansion] = build_evaluator(cfg).steps
    assert build_evaluator(load_config("tuned.yml")).steps == (
        expansion,
        SubtractNegatives(negatives),
        Rerank(RERANKING),
    )
    assert list(load_config("tuned.yml").TEST.STEPS) == ["FUSE", "AQE", "NEGATIVE", "RERANK", "SUPERGLOBAL", "LOCAL"]


def test_tuned_config_without_gain_disables_the_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {AQE: {ENABLED: True}}\n")
    write_text("tuned.yml", tuned_config([trial(None, None, 40.0)], load_config("base.yml")))
    assert build_evaluator(load_config("tuned.yml")).steps == ()


def test_tuned_config_with_defaults_loads(tmp_path):
    write_text(tmp_path / "tuned.yml", tuned_config([trial(None, None, 40.0)], get_cfg()))
    cfg = get_cfg()
    cfg.merge_from_file(tmp_path / "tuned.yml")
    assert cfg.changes() == get_cfg().changes() == {}


def test_unknown_gain_is_omitted(tmp_path):
    best = replace(trial(None, None, 40.0), gain=None)
    assert "95 %" not in tuned_config([best], get_cfg())
    write_trials(tmp_path / "tuning.csv", [best])
    with open(tmp_path / "tuning.csv", newline="") as file:
        assert next(csv.DictReader(file))["gain_low"] == ""


def test_trial_table_has_one_line_per_trial(tmp_path):
    write_trials(tmp_path / "tuning.csv", [trial(EXPANSION, RERANKING, 40.0), trial(None, None, 39.0)])
    with open(tmp_path / "tuning.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["AQE.QE_K"], first["RERANK.TOP_N"], first["mAP"], first["gain_low"]) == ("3", "50", "40.0", "0.5")
    assert (second["AQE.ENABLED"], second["AQE.QE_K"], second["mAP"]) == ("False", "", "39.0")
