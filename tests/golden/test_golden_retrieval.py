"""Expansion, re-ranking and scores reproduce the reference values of fast-reid."""

from pathlib import Path

import numpy as np
import pytest

from fastreid.evaluation import GroundTruth, expand, k_reciprocal, nearest, score, score_features

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


def load_golden(name):
    return np.load(FOLDER / f"{name}.npz")


@pytest.mark.parametrize("source", ["", "fastreid_"])
@pytest.mark.parametrize(("times", "k", "alpha"), EXPANSIONS)
def test_expanded_features_match_the_reference(source, times, k, alpha):
    numbers = load_golden("aqe")
    result = expand(numbers["q"], numbers["g"], k=k, alpha=alpha, times=times)
    for side, features in zip("qg", result):
        expected = numbers[f"{source}aqe_t{times}_k{k}_a{alpha}_{side}"]
        np.testing.assert_allclose(features.numpy(), expected, rtol=0, atol=1e-5)


def test_top_10_after_expansion_matches_the_reference():
    numbers = load_golden("aqe")
    result = nearest(*expand(numbers["q"], numbers["g"], k=5, alpha=2.0), 10)
    np.testing.assert_array_equal(result.indices.numpy(), numbers["submit_top10_after_aqe_t1_k5_a2.0"])
    expected = np.sort(numbers["dist_after_aqe_t1_k5_a2.0"], axis=1)[:, :10]
    np.testing.assert_allclose(result.distances.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory_mb", [1, 1024])
@pytest.mark.parametrize("name", RERANKINGS)
def test_reranked_distances_match_the_reference(name, memory_mb):
    numbers = load_golden("rerank")
    result = k_reciprocal(numbers["q"], numbers["g"], memory_mb=memory_mb, **RERANKINGS[name])
    matrix = np.empty_like(numbers[name])
    np.put_along_axis(matrix, result.indices.numpy(), result.distances.numpy(), axis=1)
    np.testing.assert_allclose(matrix, numbers[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("metric", "name"), [("cosine", "dist_cosine"), ("euclidean", "dist_euclidean_sq")])
def test_distances_match_the_reference(metric, name):
    numbers = load_golden("evaluate_rank_roc")
    result = nearest(numbers["qf"], numbers["gf"], 10, metric=metric)
    expected = np.sort(numbers[name], axis=1)[:, :10]
    np.testing.assert_allclose(result.distances.numpy(), expected, rtol=1e-5, atol=1e-5)


def load_cameras(numbers, rule):
    if rule == "cams":
        return {"query_cameras": numbers["q_camids"], "gallery_cameras": numbers["g_camids"]}
    return {"query_cameras": np.full(40, 1), "gallery_cameras": np.full(300, -1)}


@pytest.mark.parametrize("rule", ["cams", "patent"])
@pytest.mark.parametrize("source", ["py", "cy"])
def test_scores_of_features_match_the_reference(rule, source):
    numbers = load_golden("evaluate_rank_roc")
    truth = GroundTruth(numbers["q_pids"], numbers["g_pids"], **load_cameras(numbers, rule))
    result = score_features(numbers["qf"], numbers["gf"], truth, memory_mb=1)
    cmc = numbers[f"{rule}_{source}_cmc"]
    expected = {"mAP": numbers[f"{rule}_{source}_mAP"], "mINP": numbers[f"{rule}_{source}_mINP"]}
    expected |= {"Rank-1": cmc[0], "Rank-5": cmc[4], "Rank-10": cmc[9], "metric": (expected["mAP"] + cmc[0]) / 2}
    assert [result[key] / 100 for key in expected] == pytest.approx(
        [float(value) for value in expected.values()], abs=1e-6
    )
    assert (result["num_queries"], result["num_without_match"]) == (40, 5)


def test_scores_of_a_matrix_match_the_patent_rule():
    numbers = load_golden("evaluate_rank_roc")
    result = score(numbers["dist_cosine"], numbers["q_pids"], numbers["g_pids"])
    assert result["mAP"] == pytest.approx(100 * numbers["patent_py_mAP"], abs=1e-5)
