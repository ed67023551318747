from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn import metrics

from fastreid.evaluation import GroundTruth, nearest, score, score_features
from fastreid.structures import Ranking

# One query, with the gallery rows in ranking order; its matches have ranks 1, 3 and 12 of 12.
DISTANCES = torch.arange(12.0)[None]
GALLERY = ["a", "b", "a", *"cdefghij"[:8], "a"]
AP = (Fraction(1, 1) + Fraction(2, 3) + Fraction(3, 12)) / 3


def percent(fraction):
    return pytest.approx(100 * float(fraction), rel=1e-12)


def test_scores_equal_hand_computed_values():
    scores = score(DISTANCES, ["a"], GALLERY)
    assert scores["mAP"] == percent(AP)
    assert scores["mAP@10"] == percent((Fraction(1) + Fraction(2, 3)) / 3)
    assert (scores["Rank-1"], scores["Rank-5"], scores["Rank-10"]) == (100, 100, 100)
    assert scores["mINP"] == percent(Fraction(3, 12))
    assert scores["metric"] == percent((AP + 1) / 2)
    assert (scores["num_queries"], scores["num_without_match"]) == (1, 0)


def test_map_at_two_divides_by_two_if_there_are_more_matches():
    assert score(DISTANCES, ["a"], GALLERY, top_k=2)["mAP@2"] == percent(Fraction(1, 2))


def test_rank_scores_of_a_gallery_smaller_than_ten():
    scores = score(torch.tensor([[0.3, 0.1, 0.2]]), ["a"], ["b", "c", "a"])
    assert (scores["Rank-1"], scores["Rank-5"], scores["Rank-10"]) == (0, 100, 100)


def test_ties_are_ordered_by_row():
    assert score(torch.zeros(1, 3), ["a"], ["b", "a", "a"])["mAP"] == percent((Fraction(1, 2) + Fraction(2, 3)) / 2)
    assert score(torch.tensor([[0.0, -0.0]]), ["a"], ["b", "a"])["Rank-1"] == 0


def test_query_without_match_is_excluded_and_counted():
    scores = score(torch.cat([DISTANCES, DISTANCES]), ["a", "nobody"], GALLERY)
    assert scores["mAP"] == percent(AP)
    assert (scores["num_queries"], scores["num_without_match"]) == (2, 1)


def test_unknown_patents_do_not_match_each_other():
    scores = score(torch.zeros(2, 2), ["", "a"], ["", "a"])
    assert scores["num_without_match"] == 1


def test_same_id_and_camera_is_ignored():
    scores = score(
        DISTANCES, ["a"], GALLERY, query_cameras=[1], gallery_cameras=torch.tensor([1, 1, *[2] * 10])
    )  # the first match is ignored; a wrong drawing of that camera is not
    assert scores["mAP"] == percent((Fraction(1, 2) + Fraction(2, 11)) / 2)


def test_own_drawing_is_ignored():
    scores = score(DISTANCES, ["a"], GALLERY, self_rows=[0])
    assert scores["mAP"] == percent((Fraction(1, 2) + Fraction(2, 11)) / 2)
    assert score(DISTANCES, ["a"], GALLERY, self_rows=[-1])["mAP"] == percent(AP)


def test_ids_may_be_strings_integers_arrays_or_tensors():
    integers = [ord(patent) for patent in GALLERY]
    expected = score(DISTANCES, ["a"], GALLERY)
    for convert in (list, np.array, torch.tensor):
        assert score(DISTANCES, convert([ord("a")]), convert(integers)) == expected


def random_case(num_queries=40, num_gallery=300, num_ids=25):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(num_queries + num_gallery, 12, generator=generator)
    ids = torch.randint(0, num_ids, (num_queries + num_gallery,), generator=generator)
    features += torch.randn(num_ids, 12, generator=generator)[ids]
    features[100:120] = features[99]
    return features[:num_queries], features[num_queries:], ids[:num_queries], ids[num_queries:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_features_ranking_and_matrix_give_equal_scores(metric):
    queries, gallery, query_ids, gallery_ids = random_case()
    ranking = nearest(queries, gallery, len(gallery), metric=metric)
    matrix = torch.empty_like(ranking.distances).scatter_(1, ranking.indices, ranking.distances)
    self_rows = torch.arange(40) % 7 - 1
    expected = score(ranking, query_ids, gallery_ids, self_rows=self_rows, roc=True)
    assert score(matrix, query_ids, gallery_ids, self_rows=self_rows, roc=True) == expected
    truth = GroundTruth(query_ids, gallery_ids, self_rows=self_rows)
    for memory_mb in (1, 1024):
        assert score_features(queries, gallery, truth, metric=metric, roc=True, memory_mb=memory_mb) == expected


def test_short_ranking_gives_exact_scores_only():
    queries, gallery, query_ids, gallery_ids = random_case()
    full = score(nearest(queries, gallery, 300), query_ids, gallery_ids)
    ten = score(nearest(queries, gallery, 10), query_ids, gallery_ids)
    assert ten == {key: full[key] for key in ten}
    at_ten = {"mAP@10", "P@10", "R@10", "nDCG@10", "Rank-1", "Rank-5", "Rank-10", "patent/Rank-1"}
    assert set(ten) == at_ten | {"num_queries", "num_without_match"}
    nine = score(nearest(queries, gallery, 9), query_ids, gallery_ids)
    assert set(nine) == {"Rank-1", "Rank-5", "patent/Rank-1", "num_queries", "num_without_match"}
    seven = score(nearest(queries, gallery, 7), query_ids, gallery_ids)
    assert set(seven) == {"Rank-1", "Rank-5", "patent/Rank-1", "num_queries", "num_without_match"}


def test_ignored_row_shortens_a_short_ranking():
    ranking = Ranking(torch.tensor([[2, 0, 1, 4, 3]]), torch.arange(5.0)[None])
    scores = score(ranking, ["a"], list("bacdefgh"), self_rows=[2], top_k=4)
    assert "Rank-5" not in scores
    assert scores["mAP@4"] == percent(Fraction(1, 2))


def test_map_equals_scikit_learn():
    queries, gallery, query_ids, gallery_ids = random_case()
    ranking = nearest(queries, gallery, 300, metric="euclidean")
    order = torch.arange(300.0).expand(40, 300)  # ranks as distances: no ties, so the definitions agree
    ranks = torch.empty(40, 300).scatter_(1, ranking.indices, order)
    expected = [
        metrics.average_precision_score((gallery_ids == patent).numpy(), -row.numpy())
        for patent, row in zip(query_ids, ranks)
        if (gallery_ids == patent).any()
    ]
    assert score(ranking, query_ids, gallery_ids)["mAP"] == pytest.approx(100 * np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("num_negatives", [30, 5000])
def test_tpr_is_the_highest_point_of_the_roc_curve(num_negatives):
    generator = np.random.default_rng(num_negatives)
    gallery_ids = np.repeat([0, 1], [40, num_negatives])
    distances = (generator.normal(size=(3, 40 + num_negatives)) + 2.5 * gallery_ids).round(2).astype(np.float32)
    scores = score(distances, [0, 0, 0], gallery_ids, roc=True)
    false_rates, true_rates, _ = metrics.roc_curve(
        np.tile(gallery_ids == 0, 3), -distances.ravel(), drop_intermediate=False
    )
    for name, rate in (("1e-04", 1e-4), ("1e-03", 1e-3), ("1e-02", 1e-2)):
        expected = true_rates[false_rates <= rate].max()
        assert scores[f"TPR@FPR={name}"] == pytest.approx(100 * expected, rel=1e-12)


def test_perfect_ranking_has_full_tpr():
    scores = score(torch.tensor([[0.1, 0.2, 0.8, 0.9]]), ["a"], ["a", "a", "b", "c"], roc=True)
    assert [scores[key] for key in scores if key.startswith("TPR")] == [100, 100, 100]
