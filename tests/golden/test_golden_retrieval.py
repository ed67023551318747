"""Expansion, re-ranking and scores give the reference's numbers."""

from pathlib import Path

import numpy as np
import pytest

from fastreid.evaluation import Truth, expand, k_reciprocal, nearest, score, score_features

FOLDER = Path(__file__).parent
EXPANSIONS = [(1, 5, 2.0), (2, 5, 2.0), (1, 10, 3.0), (1, 1, 2.0), (3, 4, 0.0)]
PAPER = {"metric": "euclidean", "form": "paper"}
RERANKINGS = {
    "rerank_k20_6_l0.3": {"k1": 20, "k2": 6, "lambda_value": 0.3, **PAPER},
    "rerank_k10_1_l0.3": {"k1": 10, "k2": 1, "lambda_value": 0.3, **PAPER},
    "rerank_k6_3_l0.0": {"k1": 6, "k2": 3, "lambda_value": 0.0, **PAPER},
    "rerank_k20_6_l1.0": {"k1": 20, "k2": 6, "lambda_value": 1.0, **PAPER},
    "reid_evaluator_rerank_k20_6_l0.3": {"k1": 20, "k2": 6, "lambda_value": 0.3},
    "jaccard_norm_k20_6": {"k1": 20, "k2": 6, "lambda_value": 0.0},
    "jaccard_norm_k10_1": {"k1": 10, "k2": 1, "lambda_value": 0.0},
    "jaccard_raw_k20_6": {"k1": 20, "k2": 6, "lambda_value": 0.0, "metric": "euclidean"},
    "jaccard_raw_k10_1": {"k1": 10, "k2": 1, "lambda_value": 0.0, "metric": "euclidean"},
}


def golden(name):
    return np.load(FOLDER / f"{name}.npz")


@pytest.mark.parametrize("source", ["", "fastreid_"])
@pytest.mark.parametrize(("times", "k", "alpha"), EXPANSIONS)
def test_expanded_features_are_golden(source, times, k, alpha):
    numbers = golden("aqe")
    found = expand(numbers["q"], numbers["g"], k=k, alpha=alpha, times=times)
    for side, features in zip("qg", found):
        wanted = numbers[f"{source}aqe_t{times}_k{k}_a{alpha}_{side}"]
        np.testing.assert_allclose(features.numpy(), wanted, rtol=0, atol=1e-5)


def test_the_ten_nearest_after_expansion_are_golden():
    numbers = golden("aqe")
    found = nearest(*expand(numbers["q"], numbers["g"], k=5, alpha=2.0), 10)
    np.testing.assert_array_equal(found.indices.numpy(), numbers["submit_top10_after_aqe_t1_k5_a2.0"])
    wanted = np.sort(numbers["dist_after_aqe_t1_k5_a2.0"], axis=1)[:, :10]
    np.testing.assert_allclose(found.distances.numpy(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory_mb", [1, 1024])
@pytest.mark.parametrize("name", RERANKINGS)
def test_reranked_distances_are_golden(name, memory_mb):
    numbers = golden("rerank")
    found = k_reciprocal(numbers["q"], numbers["g"], memory_mb=memory_mb, **RERANKINGS[name])
    matrix = np.empty_like(numbers[name])
    np.put_along_axis(matrix, found.indices.numpy(), found.distances.numpy(), axis=1)
    np.testing.assert_allclose(matrix, numbers[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("metric", "name"), [("cosine", "dist_cosine"), ("euclidean", "dist_euclidean_sq")])
def test_distances_are_golden(metric, name):
    numbers = golden("evaluate_rank_roc")
    found = nearest(numbers["qf"], numbers["gf"], 10, metric=metric)
    wanted = np.sort(numbers[name], axis=1)[:, :10]
    np.testing.assert_allclose(found.distances.numpy(), wanted, rtol=1e-5, atol=1e-5)


def cameras_of(numbers, rule):
    if rule == "cams":
        return {"query_cameras": numbers["q_camids"], "gallery_cameras": numbers["g_camids"]}
    return {"query_cameras": np.full(40, 1), "gallery_cameras": np.full(300, -1)}


@pytest.mark.parametrize("rule", ["cams", "patent"])
@pytest.mark.parametrize("source", ["py", "cy"])
def test_scores_of_features_are_golden(rule, source):
    numbers = golden("evaluate_rank_roc")
    truth = Truth(numbers["q_pids"], numbers["g_pids"], **cameras_of(numbers, rule))
    found = score_features(numbers["qf"], numbers["gf"], truth, memory_mb=1)
    cmc = numbers[f"{rule}_{source}_cmc"]
    wanted = {"mAP": numbers[f"{rule}_{source}_mAP"], "mINP": numbers[f"{rule}_{source}_mINP"]}
    wanted |= {"Rank-1": cmc[0], "Rank-5": cmc[4], "Rank-10": cmc[9], "metric": (wanted["mAP"] + cmc[0]) / 2}
    assert [found[key] / 100 for key in wanted] == pytest.approx([float(value) for value in wanted.values()], abs=1e-6)
    assert (found["num_queries"], found["num_without_match"]) == (40, 5)


def test_scores_of_a_matrix_without_cameras_are_those_of_the_patent_rule():
    numbers = golden("evaluate_rank_roc")
    found = score(numbers["dist_cosine"], numbers["q_pids"], numbers["g_pids"])
    assert found["mAP"] == pytest.approx(100 * numbers["patent_py_mAP"], abs=1e-5)
