import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastreid.config import get_cfg
from fastreid.engine.setup import load_config
from fastreid.evaluation import ExpansionSettings, RerankSettings
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.pipeline import Expand, Rerank
from fastreid.evaluation.postprocess.tuning import Trial
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.experiments.tuning import tuned_config, write_trials
from fastreid.utils.files import write_text

EXPANSION = ExpansionSettings(k=3, alpha=2.0, gallery_too=False)
RERANKING = RerankSettings(k1=8, k2=2, lambda_value=0.1, top_n=50)


def trial(expansion, reranking, value):
    scores = QueryScores({"mAP": np.array([value])}, np.array([0]), np.array([1]), np.array([1.0]), {})
    return Trial(expansion, reranking, scores, value, (0.5, 1.5))


def written(trials, cfg):
    return tuned_config(
        trials,
        path="tuned.yml",
        settings=cfg.changes(),
        steps=cfg.TEST.STEPS,
        tried_with="base.yml",
        select_by="mAP",
    )


def leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_best_choice_is_a_config_that_builds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {METRIC: euclidean}\n")
    words = (
        "TEST.STEPS",
        "['RERANK', 'AQE', 'WHITEN']",
        "MODEL.BACKBONE.DEPTH",
        "101x",
        "TEST.RERANK.K1",
        "77",
        "INPUT.SIZE_TEST",
        "[64, 64]",
    )
    tried = load_config("base.yml", words)
    write_text("elsewhere/tuned.yml", written([trial(EXPANSION, RERANKING, 40.0)], tried))
    cfg = load_config("elsewhere/tuned.yml")
    before, after = (
        dict(pair for pair in leaves(tree) if not pair[0].startswith(("TEST.AQE", "TEST.RERANK", "TEST.STEPS")))
        for tree in (tried, cfg)
    )
    assert before == after
    assert tuple(cfg.TEST.STEPS) == ("WHITEN", "AQE", "RERANK")  # as it was tried, whatever the order was
    assert build_evaluator(cfg).steps == (Expand(EXPANSION), Rerank(RERANKING))
    assert cfg.TEST.METRIC == "euclidean"
    text = Path("elsewhere/tuned.yml").read_text()
    assert "mAP 40.00" in text
    assert "+0.50 to +1.50 beside plain search (95 %)" in text


def test_where_nothing_was_better_the_steps_are_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {AQE: {ENABLED: True}}\n")
    write_text("tuned.yml", written([trial(None, None, 40.0)], load_config("base.yml")))
    assert build_evaluator(load_config("tuned.yml")).steps == ()


def test_where_nothing_differs_from_the_defaults_the_config_still_loads(tmp_path):
    write_text(tmp_path / "tuned.yml", written([trial(None, None, 40.0)], get_cfg()))
    cfg = load_config(tmp_path / "tuned.yml")
    assert cfg.changes() == get_cfg().changes() == {}


def test_a_gain_that_is_not_known_is_not_told(tmp_path):
    best = replace(trial(None, None, 40.0), gain=None)
    assert "95 %" not in written([best], get_cfg())
    write_trials(tmp_path / "tuning.csv", [best])
    with open(tmp_path / "tuning.csv", newline="") as file:
        assert next(csv.DictReader(file))["gain_low"] == ""


def test_the_table_of_trials_has_a_line_for_each(tmp_path):
    write_trials(tmp_path / "tuning.csv", [trial(EXPANSION, RERANKING, 40.0), trial(None, None, 39.0)])
    with open(tmp_path / "tuning.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["AQE.QE_K"], first["RERANK.TOP_N"], first["mAP"], first["gain_low"]) == ("3", "50", "40.0", "0.5")
    assert (second["AQE.ENABLED"], second["AQE.QE_K"], second["mAP"]) == ("False", "", "39.0")
