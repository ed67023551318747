"""Search, expansion, re-ranking and scores reject invalid features, settings and ids with these messages."""

import numpy as np
import pytest
import torch

from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    RerankSettings,
    ScoreSettings,
    SearchSettings,
    expand,
    k_reciprocal,
    nearest,
    score,
)
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.evaluation.scoring.metrics import score_features
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, NumericalError

VALID = torch.eye(6)[:, :4] + 0.5


def replace_rows(value, *rows):
    features = VALID.clone()
    features[list(rows)] = value
    return features


CALLS = {
    "nearest": lambda queries, gallery: nearest(queries, gallery, 2),
    "nearest euclidean": lambda queries, gallery: nearest(queries, gallery, 2, metric="euclidean"),
    "expand": lambda queries, gallery: expand(queries, gallery, k=2, alpha=2.0),
    "k_reciprocal": lambda queries, gallery: k_reciprocal(queries, gallery, k1=3, k2=2, lambda_value=0.3),
    "score_features": lambda queries, gallery: score_features(queries, gallery, GroundTruth(range(6), range(6))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("side", [0, 1])
def test_non_finite_and_zero_rows_are_listed(call, value, side):
    sides = [VALID, VALID.clone()]
    sides[side] = replace_rows(value, 1, 4)
    with pytest.raises(
        NumericalError, match=r"2 of [0-9]+ rows of .* are NaN, Inf or zero: rows [0-9]+, [0-9]+; check"
    ):
        call(*sides)


def test_only_20_invalid_rows_are_listed():
    with pytest.raises(NumericalError, match=r"30 of 30 rows of queries .* 18, 19, \.\.\.; check"):
        nearest(torch.zeros(30, 4), VALID, 1)
    with pytest.raises(NumericalError, match=r"20 of 20 rows of queries .* 18, 19; check"):
        nearest(torch.zeros(20, 4), VALID, 1)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("queries", "gallery", "message"),
    [
        (torch.ones(6, 3), VALID, "queries have 3 floats per row but the gallery has 4"),
        (torch.ones(0, 4), VALID, r"queries must be floats \(N, D\) with N and D at least 1, not \(0, 4\)"),
        (VALID, torch.ones(6, 0), r"the gallery must be floats .* not \(6, 0\)"),
        (torch.ones(6), VALID, r"not \(6,\)"),
        (torch.ones(6, 4, dtype=torch.int64), VALID, "torch.int64"),
        (VALID, np.ones((6, 4), dtype=int), "not int64"),
        (VALID, [["a"]], "convert them"),
    ],
)
def test_features_of_invalid_type_or_shape_are_rejected(call, queries, gallery, message):
    with pytest.raises(InputError, match=message):
        call(queries, gallery)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_invalid_k_is_rejected(k):
    with pytest.raises(InputError, match="k must be an integer of at least 1, not"):
        nearest(VALID, VALID, k)
    with pytest.raises(InputError, match="k must be an integer of at least 1, not"):
        expand(VALID, VALID, k=k, alpha=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cosin"}, "metric 'cosin' is unknown. Did you mean 'cosine'"),
        ({"engine": "fais"}, "search engine 'fais' is unknown. Did you mean 'faiss'"),
        ({"memory_mb": 0}, "memory_mb must be an integer of at least 1, not 0"),
        ({"precision": "half"}, r"precision must be one of auto, float32, bfloat16, not 'half'"),
    ],
)
def test_unknown_names_and_zero_memory_are_rejected(options, message):
    with pytest.raises(InputError, match=message):
        nearest(VALID, VALID, 1, **options)
    with pytest.raises(InputError, match=message):
        Evaluator(**options) if "metric" in options else SearchSettings(**options)


def test_features_whose_squares_overflow_are_rejected():
    with pytest.raises(NumericalError, match=r"squared distances of features with norm 1\.0e\+20 overflow float32"):
        nearest(torch.tensor([[1e20, 0.0]]), torch.tensor([[0.0, 1.0]]), 1, metric="euclidean")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be a number of at least 0, not -1.0"),
        ({"alpha": float("nan")}, "alpha must be a number"),
        ({"alpha": "3"}, "alpha must be a number"),
        ({"times": 0}, "times must be an integer of at least 1"),
        ({"queries_too": False, "gallery_too": False}, "nothing to expand"),
    ],
)
def test_expansion_rejects_invalid_settings(options, message):
    options = {"k": 2, "alpha": 2.0} | options
    for make in (lambda: expand(VALID, VALID, **options), lambda: ExpansionSettings(**options)):
        with pytest.raises(InputError, match=message):
            make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "k1 must be an integer of at least 1"),
        ({"k2": 0}, "k2 must be an integer of at least 1"),
        ({"k1": 3, "k2": 4}, r"k2 \(TEST\.RERANK\.K2\) must be at most k1 \(TEST\.RERANK\.K1\) 3, not 4"),
        ({"lambda_value": 1.5}, r"lambda_value \(TEST\.RERANK\.LAMBDA\) must be a number from 0 to 1, not 1.5"),
        ({"lambda_value": float("nan")}, "lambda_value .* must be a number from 0 to 1"),
        ({"top_n": 0}, "top_n must be an integer of at least 1"),
        ({"form": "classic"}, r"form \(TEST\.RERANK\.FORM\) must be fast-reid or paper, not 'classic'"),
    ],
)
def test_reranking_rejects_invalid_settings(options, message):
    options = {"k1": 3, "k2": 2, "lambda_value": 0.3} | options
    for make in (lambda: k_reciprocal(VALID, VALID, **options), lambda: RerankSettings(**options)):
        with pytest.raises(InputError, match=message):
            make()


RANKING = Ranking(torch.tensor([[0, 2]]), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("ranking", "ids", "options", "message"),
    [
        (torch.zeros(1, 2), (["a"], ["a", "b", "c"]), {}, r"floats \(1, 3\), not torch.float32 \(1, 2\)"),
        (torch.zeros(1, 3, dtype=torch.int64), (["a"], ["a", "b", "c"]), {}, "not torch.int64"),
        (RANKING, (["a", "b"], ["a", "b", "c"]), {}, "a ranking of 1 queries has 2 query ids"),
        (RANKING, (["a"], ["a", "b"]), {}, "a ranking contains row 2, but the gallery has 2 ids"),
        (RANKING, (["a"], ["b", "b", "c"]), {}, "none of 1 queries has a match"),
        (
            RANKING,
            (["a"], ["a", "b", "c"]),
            {"roc": True},
            "true positive rates .* need all 3 columns of a ranking, not 2",
        ),
        (RANKING, (["a"], ["a", "b", "c"]), {"top_k": 0}, "top_k must be an integer of at least 1"),
        (RANKING, (["a"], [1, 2, 3]), {}, "make both strings or both integers"),
        (RANKING, ([1.0], [1.0, 2.0, 3.0]), {}, "query_ids must be strings or integers, but value 0 is of type float"),
        (RANKING, ([], ["a"]), {}, "at least one"),
        (RANKING, (["a"], ["a", "b", "c"]), {"query_cameras": [1]}, "only one side has cameras"),
        (
            RANKING,
            (["a"], ["a", "b", "c"]),
            {"query_cameras": [1], "gallery_cameras": [1]},
            "gallery_cameras must be 3 integers, not 1",
        ),
        (RANKING, (["a"], ["a", "b", "c"]), {"self_rows": [3]}, r"self_rows must be gallery rows 0\.\.2"),
    ],
)
def test_scores_reject_mismatched_input(ranking, ids, options, message):
    with pytest.raises(InputError, match=message):
        score(ranking, *ids, **options)


def test_scores_reject_nan_distances():
    with pytest.raises(NumericalError, match="distances contain NaN"):
        score(torch.tensor([[0.1, float("nan")]]), ["a"], ["a", "b"])


def test_scores_of_features_reject_ids_of_another_length():
    with pytest.raises(InputError, match="6 queries and 6 gallery rows have 1 and 2 ids"):
        score_features(VALID, VALID, GroundTruth(["a"], ["a", "b"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be an integer of at least 1"),
        ({"normalizer": "k"}, r"normalizer \(TEST\.SCORE\.NORMALIZER\) must be min or relevant or found, not 'k'"),
        (
            {"patent_distance": "worst"},
            r"patent_distance \(TEST\.SCORE\.PATENT_DISTANCE\) must be best or mean, not 'worst'",
        ),
    ],
)
def test_scores_reject_invalid_settings(options, message):
    for make in (lambda: ScoreSettings(**options), lambda: score(RANKING, ["a"], ["a", "b", "c"], **options)):
        with pytest.raises(InputError, match=message):
            make()


def test_mean_patent_distance_rejects_infinite_distances():
    with pytest.raises(NumericalError, match="distances contain Inf, which has no mean"):
        score(torch.tensor([[0.1, float("inf")]]), ["a"], ["a", "b"], patent_distance="mean")


def test_reranking_rejects_k_above_top_n_and_inner_products():
    with pytest.raises(InputError, match=r"k must be at most top_n \(TEST\.RERANK\.TOP_N\) 3, not 4"):
        k_reciprocal(VALID, VALID, k1=3, k2=2, lambda_value=0.3, k=4, top_n=3)
    with pytest.raises(InputError, match="re-ranking needs a distance: use the metric cosine or euclidean"):
        k_reciprocal(VALID, VALID, k1=3, k2=2, lambda_value=0.3, metric="inner_product")
