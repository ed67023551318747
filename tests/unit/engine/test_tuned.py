import csv

import numpy as np

from fastreid.engine.setup import load_config
from fastreid.engine.testing.tuned import tuned_config, write_trials
from fastreid.evaluation import ExpansionSettings, RerankSettings
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.per_query import QueryScores
from fastreid.evaluation.steps import Expand, Rerank
from fastreid.evaluation.tuning import Trial
from fastreid.utils.files import write_text

EXPANSION = ExpansionSettings(k=3, alpha=2.0, gallery_too=False)
RERANKING = RerankSettings(k1=8, k2=2, lambda_value=0.1, top_n=50)


def trial(expansion, reranking, value):
    scores = QueryScores({"mAP": np.array([value])}, np.array([0]), np.array([1]), np.array([1.0]), {})
    return Trial(expansion, reranking, scores, value, (0.5, 1.5))


def test_the_best_choice_is_a_config_that_builds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {METRIC: euclidean}\n")
    text = tuned_config([trial(EXPANSION, RERANKING, 40.0)], path="logs/tuned.yml", base="base.yml", select_by="mAP")
    write_text("logs/tuned.yml", text)
    cfg = load_config("logs/tuned.yml")
    assert cfg.TEST.METRIC == "euclidean"
    assert build_evaluator(cfg).steps == (Expand(EXPANSION), Rerank(RERANKING))
    assert "mAP 40.00" in text
    assert "+0.50 to +1.50 points" in text


def test_where_nothing_was_better_the_steps_are_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("base.yml", "TEST: {AQE: {ENABLED: True}}\n")
    text = tuned_config([trial(None, None, 40.0)], path="tuned.yml", base="base.yml", select_by="mAP")
    write_text("tuned.yml", text)
    assert build_evaluator(load_config("tuned.yml")).steps == ()


def test_outside_the_working_folder_no_base_is_named_and_the_config_says_so(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    text = tuned_config([trial(None, None, 40.0)], path=tmp_path / "t.yml", base=tmp_path / "b.yml", select_by="mAP")
    write_text(tmp_path / "t.yml", text)
    assert "put it in a _BASE_ line" in text
    load_config(tmp_path / "t.yml")


def test_the_table_of_trials_has_a_line_for_each(tmp_path):
    write_trials(tmp_path / "tuning.csv", [trial(EXPANSION, RERANKING, 40.0), trial(None, None, 39.0)])
    with open(tmp_path / "tuning.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["AQE.QE_K"], first["RERANK.TOP_N"], first["mAP"], first["gain_low"]) == ("3", "50", "40.0", "0.5")
    assert (second["AQE.ENABLED"], second["AQE.QE_K"], second["mAP"]) == ("False", "", "39.0")
