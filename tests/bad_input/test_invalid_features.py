"""Features, choices and ids that search, expansion, re-ranking and scores refuse, with these words."""

import numpy as np
import pytest
import torch

from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    RerankSettings,
    ScoreSettings,
    Search,
    expand,
    k_reciprocal,
    nearest,
    score,
)
from fastreid.evaluation.scoring.ground_truth import Truth
from fastreid.evaluation.scoring.metrics import score_features
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, NumericalError

GOOD = torch.eye(6)[:, :4] + 0.5


def with_row(value, *rows):
    features = GOOD.clone()
    features[list(rows)] = value
    return features


CALLS = {
    "nearest": lambda queries, gallery: nearest(queries, gallery, 2),
    "nearest euclidean": lambda queries, gallery: nearest(queries, gallery, 2, metric="euclidean"),
    "expand": lambda queries, gallery: expand(queries, gallery, k=2, alpha=2.0),
    "k_reciprocal": lambda queries, gallery: k_reciprocal(queries, gallery, k1=3, k2=2, lambda_value=0.3),
    "score_features": lambda queries, gallery: score_features(queries, gallery, Truth(range(6), range(6))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("side", [0, 1])
def test_rows_of_no_number_are_named(call, value, side):
    sides = [GOOD, GOOD.clone()]
    sides[side] = with_row(value, 1, 4)
    with pytest.raises(
        NumericalError, match=r"2 of [0-9]+ rows of .* are NaN, Inf or zero: rows [0-9]+, [0-9]+; check"
    ):
        call(*sides)


def test_only_the_first_twenty_bad_rows_are_named():
    with pytest.raises(NumericalError, match=r"30 of 30 rows of queries .* 18, 19, \.\.\.; check"):
        nearest(torch.zeros(30, 4), GOOD, 1)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("queries", "gallery", "words"),
    [
        (torch.ones(6, 3), GOOD, "queries have 3 floats a row and the gallery 4"),
        (torch.ones(0, 4), GOOD, r"queries are floats \(N, D\) with N and D at least 1, not \(0, 4\)"),
        (GOOD, torch.ones(6, 0), r"the gallery are floats .* not \(6, 0\)"),
        (torch.ones(6), GOOD, r"not \(6,\)"),
        (torch.ones(6, 4, dtype=torch.int64), GOOD, "torch.int64"),
        (GOOD, np.ones((6, 4), dtype=int), "not int64"),
        (GOOD, [["a"]], "convert them"),
    ],
)
def test_features_of_another_kind_are_refused(call, queries, gallery, words):
    with pytest.raises(InputError, match=words):
        call(queries, gallery)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_a_k_that_is_no_count_is_refused(k):
    with pytest.raises(InputError, match="k is an integer of at least 1, not"):
        nearest(GOOD, GOOD, k)
    with pytest.raises(InputError, match="k is an integer of at least 1, not"):
        expand(GOOD, GOOD, k=k, alpha=1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "cosin"}, "no metric is called 'cosin'. Did you mean 'cosine'"),
        ({"engine": "fais"}, "no search engine is called 'fais'. Did you mean 'faiss'"),
        ({"memory_mb": 0}, "memory_mb is an integer of at least 1, not 0"),
        ({"precision": "half"}, r"precision \(TEST\.PRECISION\) is auto, float32, bfloat16, not 'half'"),
    ],
)
def test_unknown_names_and_no_memory_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        nearest(GOOD, GOOD, 1, **options)
    with pytest.raises(InputError, match=words):
        Evaluator(**options) if "metric" in options else Search(**options)


def test_features_too_long_to_square_are_refused():
    with pytest.raises(NumericalError, match=r"features of length 1\.0e\+20 have no squared distance in float32"):
        nearest(torch.tensor([[1e20, 0.0]]), torch.tensor([[0.0, 1.0]]), 1, metric="euclidean")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"alpha": -1.0}, "alpha is a number of at least 0, not -1.0"),
        ({"alpha": float("nan")}, "alpha is a number"),
        ({"alpha": "3"}, "alpha is a number"),
        ({"times": 0}, "times is an integer of at least 1"),
        ({"queries_too": False, "gallery_too": False}, "nothing to expand"),
    ],
)
def test_expansion_refuses_choices_that_mean_nothing(choices, words):
    choices = {"k": 2, "alpha": 2.0} | choices
    for make in (lambda: expand(GOOD, GOOD, **choices), lambda: ExpansionSettings(**choices)):
        with pytest.raises(InputError, match=words):
            make()


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"k1": 0}, "k1 is an integer of at least 1"),
        ({"k2": 0}, "k2 is an integer of at least 1"),
        ({"k1": 3, "k2": 4}, r"k2 \(TEST\.RERANK\.K2\) is at most k1 \(TEST\.RERANK\.K1\), 3, not 4"),
        ({"lambda_value": 1.5}, r"lambda_value \(TEST\.RERANK\.LAMBDA\) is a share 0..1, not 1.5"),
        ({"lambda_value": float("nan")}, "lambda_value .* is a share"),
        ({"top_n": 0}, "top_n is an integer of at least 1"),
        ({"form": "classic"}, r"form \(TEST\.RERANK\.FORM\) is fast-reid or paper, not 'classic'"),
    ],
)
def test_reranking_refuses_choices_that_mean_nothing(choices, words):
    choices = {"k1": 3, "k2": 2, "lambda_value": 0.3} | choices
    for make in (lambda: k_reciprocal(GOOD, GOOD, **choices), lambda: RerankSettings(**choices)):
        with pytest.raises(InputError, match=words):
            make()


RANKING = Ranking(torch.tensor([[0, 2]]), torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("ranking", "ids", "options", "words"),
    [
        (torch.zeros(1, 2), (["a"], ["a", "b", "c"]), {}, r"floats \(1, 3\), not torch.float32 \(1, 2\)"),
        (torch.zeros(1, 3, dtype=torch.int64), (["a"], ["a", "b", "c"]), {}, "not torch.int64"),
        (RANKING, (["a", "b"], ["a", "b", "c"]), {}, "a ranking of 1 queries was given 2 query ids"),
        (RANKING, (["a"], ["a", "b"]), {}, "a ranking holds row 2, but the gallery has 2 ids"),
        (RANKING, (["a"], ["b", "b", "c"]), {}, "none of 1 queries has a match"),
        (RANKING, (["a"], ["a", "b", "c"]), {"roc": True}, "accept rates need all 3 columns, not 2"),
        (RANKING, (["a"], ["a", "b", "c"]), {"top_k": 0}, "top_k is an integer of at least 1"),
        (RANKING, (["a"], [1, 2, 3]), {}, "make both words or integers"),
        (RANKING, ([1.0], [1.0, 2.0, 3.0]), {}, "words or integers, not float64"),
        (RANKING, ([], ["a"]), {}, "at least one"),
        (RANKING, (["a"], ["a", "b", "c"]), {"query_cameras": [1]}, "cameras of only one side"),
        (
            RANKING,
            (["a"], ["a", "b", "c"]),
            {"query_cameras": [1], "gallery_cameras": [1]},
            "gallery_cameras are 3 integers, not 1",
        ),
        (RANKING, (["a"], ["a", "b", "c"]), {"own_rows": [3]}, r"own_rows are rows 0\.\.2 of the gallery"),
    ],
)
def test_scores_refuse_what_does_not_fit(ranking, ids, options, words):
    with pytest.raises(InputError, match=words):
        score(ranking, *ids, **options)


def test_scores_refuse_distances_of_no_number():
    with pytest.raises(NumericalError, match="distances hold NaN"):
        score(torch.tensor([[0.1, float("nan")]]), ["a"], ["a", "b"])


def test_scores_of_features_refuse_ids_of_another_length():
    with pytest.raises(InputError, match="6 queries and 6 gallery rows have 1 and 2 ids"):
        score_features(GOOD, GOOD, Truth(["a"], ["a", "b"]))


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"top_k": 0}, "top_k is an integer of at least 1"),
        ({"normaliser": "k"}, r"normaliser \(TEST\.SCORE\.NORMALIZER\) is min or relevant or found, not 'k'"),
        (
            {"patent_distance": "worst"},
            r"patent_distance \(TEST\.SCORE\.PATENT_DISTANCE\) is best or mean, not 'worst'",
        ),
    ],
)
def test_scores_refuse_choices_that_mean_nothing(choices, words):
    for make in (lambda: ScoreSettings(**choices), lambda: score(RANKING, ["a"], ["a", "b", "c"], **choices)):
        with pytest.raises(InputError, match=words):
            make()


def test_a_mean_over_drawings_refuses_infinite_distances():
    with pytest.raises(NumericalError, match="distances hold Inf, which has no mean"):
        score(torch.tensor([[0.1, float("inf")]]), ["a"], ["a", "b"], patent_distance="mean")


def test_reranking_refuses_more_columns_than_it_ranks_and_inner_products():
    with pytest.raises(InputError, match="k is 4, but only the first 3 are ranked anew"):
        k_reciprocal(GOOD, GOOD, k1=3, k2=2, lambda_value=0.3, k=4, top_n=3)
    with pytest.raises(InputError, match="asks for a distance: take the metric cosine or euclidean"):
        k_reciprocal(GOOD, GOOD, k1=3, k2=2, lambda_value=0.3, metric="inner_product")
