"""Recall@K and MAP@R of metric learning against their definitions."""

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine import tester
from fastreid.evaluation import Evaluator, GroundTruth, ScoreSettings, nearest, score, score_features
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.scoring.metrics import check_score_name, score_names
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError

RECALLS = (1, 2, 4, 8, 100, 5000)
CLASS_SIZES = np.arange(2, 17)
NUM = int(CLASS_SIZES.sum())


def make_features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(CLASS_SIZES)), CLASS_SIZES))
    centers = torch.randn(len(CLASS_SIZES), 8, generator=generator)
    return centers[labels] + 1.5 * torch.randn(NUM, 8, generator=generator), labels


def compute_oracle(features, labels, k):
    """Return Recall@k and MAP@R of each image as a query against all others, as the papers define them."""
    distances = torch.cdist(*[torch.nn.functional.normalize(features.double())] * 2).fill_diagonal_(np.inf).numpy()
    hits = labels[distances.argsort(axis=1)[:, :-1]] == labels[:, None]
    r = np.array([(labels == label).sum() - 1 for label in labels])
    precisions = hits.cumsum(axis=1) / np.arange(1, NUM) * hits
    average = [precisions[row, : r[row]].sum() / r[row] for row in range(NUM)]
    return 100 * hits[:, :k].any(axis=1).mean(), 100 * np.mean(average)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_equal_the_definition(metric):
    features, labels = make_features()
    features = torch.nn.functional.normalize(features)
    truth = GroundTruth(labels, labels, self_rows=np.arange(NUM))
    scores = score_features(features, features, truth, metric=metric, recalls=RECALLS)
    for k in RECALLS:
        recall, map_at_r = compute_oracle(features, labels, k)
        assert scores[f"Recall@{k}"] == pytest.approx(recall, abs=1e-9)
        assert scores["MAP@R"] == pytest.approx(map_at_r, abs=1e-9)
    assert scores["Recall@1"] == scores["Rank-1"]
    assert 0 < scores["MAP@R"] < scores["R-precision"] < scores["Recall@8"] < scores["Recall@5000"] == 100


def test_small_memory_gives_the_same_recalls():
    features, labels = make_features()
    truth = GroundTruth(labels, labels, self_rows=np.arange(NUM))
    one_block, blocks = (
        score_features(features, features, truth, recalls=RECALLS, memory_mb=memory_mb) for memory_mb in (1024, 1)
    )
    assert one_block == blocks


def test_short_ranking_has_the_recalls_it_determines():
    features, labels = make_features()
    ranking = nearest(features, features, 9)  # one of them is the query itself
    options = {"self_rows": np.arange(NUM), "recalls": RECALLS}
    short, full = (
        score(ranking, labels, labels, **options),
        score(nearest(features, features, NUM), labels, labels, **options),
    )
    names = {name for name in short if name.startswith("Recall@")}
    assert names == {"Recall@1", "Recall@2", "Recall@4", "Recall@8"}
    assert all(short[name] == full[name] for name in names)


def test_names_of_recalls():
    assert score_names(recalls=(1, 100))[5:7] == ("Recall@1", "Recall@100")
    assert "MAP@R" in score_names()
    check_score_name("Recall@4", recalls=(2, 4))
    with pytest.raises(InputError, match=r"TEST.SELECT_BY 'Recall@4' is unknown"):
        check_score_name("Recall@4")
    with pytest.raises(InputError, match=r"recalls \(TEST.RECALLS\) must be an integer of at least 1, not 0"):
        ScoreSettings(recalls=(0,))


def test_config_selects_the_recalls():
    cfg = get_cfg()
    cfg.merge_from_list(["TEST.RECALLS", "[1, 10, 100, 1000]"])
    assert build_evaluator(cfg).scoring.recalls == (1, 10, 100, 1000)
    with pytest.raises(InputError, match=r"TEST\.RECALLS"):
        cfg.merge_from_list(["TEST.RECALLS", "[0]"])


def test_images_that_are_queries_and_gallery_are_extracted_once():
    features, labels = make_features()
    drawings = tuple(Drawing(f"{row}.png", f"{row}.png", str(label)) for row, label in enumerate(labels))
    extracted = []

    def extract(model, listed):
        extracted.append(len(listed))
        return Embeddings.from_drawings(features, listed)

    evaluator = Evaluator(scoring=ScoreSettings(recalls=(1, 2)))
    options = {"name": "Mine", "queries": drawings, "read": None, "extract": extract, "evaluator": evaluator}
    once, twice = (tester.Tester(gallery=gallery, **options).test(None) for gallery in (drawings, list(drawings)))
    assert extracted == [NUM, NUM, NUM]
    assert once.scores == twice.scores
    assert once.scores["Recall@2"] == pytest.approx(compute_oracle(features, labels, 2)[0], abs=1e-9)
