from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn import metrics

from fastreid.evaluation import GroundTruth, nearest, score, score_features
from fastreid.structures import Ranking

# One query; the gallery's rows stand in order. Its matches are at places 1, 3 and 12 of 12.
DISTANCES = torch.arange(12.0)[None]
GALLERY = ["a", "b", "a", *"cdefghij"[:8], "a"]
AP = (Fraction(1, 1) + Fraction(2, 3) + Fraction(3, 12)) / 3


def percent(fraction):
    return pytest.approx(100 * float(fraction), rel=1e-12)


def test_scores_worked_out_by_hand():
    found = score(DISTANCES, ["a"], GALLERY)
    assert found["mAP"] == percent(AP)
    assert found["mAP@10"] == percent((Fraction(1) + Fraction(2, 3)) / 3)
    assert (found["Rank-1"], found["Rank-5"], found["Rank-10"]) == (100, 100, 100)
    assert found["mINP"] == percent(Fraction(3, 12))
    assert found["metric"] == percent((AP + 1) / 2)
    assert (found["num_queries"], found["num_without_match"]) == (1, 0)


def test_mean_precision_at_two_divides_by_two_where_more_are_right():
    assert score(DISTANCES, ["a"], GALLERY, top_k=2)["mAP@2"] == percent(Fraction(1, 2))


def test_ranks_of_a_gallery_smaller_than_ten_are_defined():
    found = score(torch.tensor([[0.3, 0.1, 0.2]]), ["a"], ["b", "c", "a"])
    assert (found["Rank-1"], found["Rank-5"], found["Rank-10"]) == (0, 100, 100)


def test_equal_distances_stand_in_order_of_their_rows():
    assert score(torch.zeros(1, 3), ["a"], ["b", "a", "a"])["mAP"] == percent((Fraction(1, 2) + Fraction(2, 3)) / 2)
    assert score(torch.tensor([[0.0, -0.0]]), ["a"], ["b", "a"])["Rank-1"] == 0


def test_a_query_without_a_match_is_left_out_and_counted():
    found = score(torch.cat([DISTANCES, DISTANCES]), ["a", "nobody"], GALLERY)
    assert found["mAP"] == percent(AP)
    assert (found["num_queries"], found["num_without_match"]) == (2, 1)


def test_an_unknown_patent_matches_no_other_unknown_one():
    found = score(torch.zeros(2, 2), ["", "a"], ["", "a"])
    assert found["num_without_match"] == 1


def test_the_same_id_under_the_same_camera_does_not_count():
    found = score(
        DISTANCES, ["a"], GALLERY, query_cameras=[1], gallery_cameras=torch.tensor([1, 1, *[2] * 10])
    )  # the first match falls out; a wrong drawing of that camera stays
    assert found["mAP"] == percent((Fraction(1, 2) + Fraction(2, 11)) / 2)


def test_the_own_drawing_does_not_count():
    found = score(DISTANCES, ["a"], GALLERY, self_rows=[0])
    assert found["mAP"] == percent((Fraction(1, 2) + Fraction(2, 11)) / 2)
    assert score(DISTANCES, ["a"], GALLERY, self_rows=[-1])["mAP"] == percent(AP)


def test_words_integers_arrays_and_tensors_name_patents_alike():
    numbers = [ord(word) for word in GALLERY]
    wanted = score(DISTANCES, ["a"], GALLERY)
    for kind in (list, np.array, torch.tensor):
        assert score(DISTANCES, kind([ord("a")]), kind(numbers)) == wanted


def random_case(num_queries=40, num_gallery=300, num_ids=25):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(num_queries + num_gallery, 12, generator=generator)
    ids = torch.randint(0, num_ids, (num_queries + num_gallery,), generator=generator)
    features += torch.randn(num_ids, 12, generator=generator)[ids]
    features[100:120] = features[99]
    return features[:num_queries], features[num_queries:], ids[:num_queries], ids[num_queries:]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_features_a_ranking_and_a_matrix_score_the_same(metric):
    queries, gallery, query_ids, gallery_ids = random_case()
    ranking = nearest(queries, gallery, len(gallery), metric=metric)
    matrix = torch.empty_like(ranking.distances).scatter_(1, ranking.indices, ranking.distances)
    own_rows = torch.arange(40) % 7 - 1
    wanted = score(ranking, query_ids, gallery_ids, self_rows=own_rows, roc=True)
    assert score(matrix, query_ids, gallery_ids, self_rows=own_rows, roc=True) == wanted
    truth = GroundTruth(query_ids, gallery_ids, self_rows=own_rows)
    for memory_mb in (1, 1024):
        assert score_features(queries, gallery, truth, metric=metric, roc=True, memory_mb=memory_mb) == wanted


def test_a_short_ranking_gives_what_it_can_tell_and_nothing_else():
    queries, gallery, query_ids, gallery_ids = random_case()
    whole = score(nearest(queries, gallery, 300), query_ids, gallery_ids)
    ten = score(nearest(queries, gallery, 10), query_ids, gallery_ids)
    assert ten == {key: whole[key] for key in ten}
    at_ten = {"mAP@10", "P@10", "R@10", "nDCG@10", "Rank-1", "Rank-5", "Rank-10", "patent/Rank-1"}
    assert set(ten) == at_ten | {"num_queries", "num_without_match"}
    nine = score(nearest(queries, gallery, 9), query_ids, gallery_ids)
    assert set(nine) == {"Rank-1", "Rank-5", "patent/Rank-1", "num_queries", "num_without_match"}
    seven = score(nearest(queries, gallery, 7), query_ids, gallery_ids)
    assert set(seven) == {"Rank-1", "Rank-5", "patent/Rank-1", "num_queries", "num_without_match"}


def test_a_row_that_does_not_count_makes_a_short_ranking_shorter():
    ranking = Ranking(torch.tensor([[2, 0, 1, 4, 3]]), torch.arange(5.0)[None])
    found = score(ranking, ["a"], list("bacdefgh"), self_rows=[2], top_k=4)
    assert "Rank-5" not in found
    assert found["mAP@4"] == percent(Fraction(1, 2))


def test_mean_average_precision_agrees_with_another_library():
    queries, gallery, query_ids, gallery_ids = random_case()
    ranking = nearest(queries, gallery, 300, metric="euclidean")
    order = torch.arange(300.0).expand(40, 300)  # places for distances: no ties, so that both mean the same
    places = torch.empty(40, 300).scatter_(1, ranking.indices, order)
    wanted = [
        metrics.average_precision_score((gallery_ids == one).numpy(), -row.numpy())
        for one, row in zip(query_ids, places)
        if (gallery_ids == one).any()
    ]
    assert score(ranking, query_ids, gallery_ids)["mAP"] == pytest.approx(100 * np.mean(wanted), rel=1e-9)


@pytest.mark.parametrize("num_wrong", [30, 5000])
def test_accept_rates_are_the_highest_points_of_the_roc_curve(num_wrong):
    generator = np.random.default_rng(num_wrong)
    gallery_ids = np.repeat([0, 1], [40, num_wrong])
    distances = (generator.normal(size=(3, 40 + num_wrong)) + 2.5 * gallery_ids).round(2).astype(np.float32)
    found = score(distances, [0, 0, 0], gallery_ids, roc=True)
    false_rates, true_rates, _ = metrics.roc_curve(
        np.tile(gallery_ids == 0, 3), -distances.ravel(), drop_intermediate=False
    )
    for name, rate in (("1e-04", 1e-4), ("1e-03", 1e-3), ("1e-02", 1e-2)):
        wanted = true_rates[false_rates <= rate].max()
        assert found[f"TPR@FPR={name}"] == pytest.approx(100 * wanted, rel=1e-12)


def test_a_perfect_ranking_accepts_all():
    found = score(torch.tensor([[0.1, 0.2, 0.8, 0.9]]), ["a"], ["a", "a", "b", "c"], roc=True)
    assert [found[key] for key in found if key.startswith("TPR")] == [100, 100, 100]
