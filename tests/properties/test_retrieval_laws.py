"""Properties of search, expansion, re-ranking and scores for arbitrary features."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.evaluation import expand, k_reciprocal, nearest, score
from fastreid.evaluation.search.order import decode_keys, encode_keys

# Small integers make equal rows and equal distances common.
NUMBERS = st.integers(-3, 3)
METRICS = st.sampled_from(["cosine", "euclidean"])
quick = settings(max_examples=40, deadline=None)


@st.composite
def feature_pairs(draw, *, max_rows=12):
    width = draw(st.integers(1, 4))
    row = st.lists(NUMBERS, min_size=width, max_size=width).filter(any)
    sides = [draw(st.lists(row, min_size=1, max_size=max_rows)) for _ in range(2)]
    return tuple(torch.tensor(side, dtype=torch.float32) for side in sides)


@quick
@given(feature_pairs(), st.integers(1, 15), METRICS)
def test_top_k_is_a_prefix_of_the_sorted_ranking(sides, k, metric):
    top, whole = nearest(*sides, k, metric=metric), nearest(*sides, len(sides[1]), metric=metric)
    assert torch.equal(top.indices, whole.indices[:, :k])
    assert (whole.distances.diff(dim=1) >= 0).all()
    equal = whole.distances.diff(dim=1) == 0
    assert (whole.indices.diff(dim=1)[equal] > 0).all()
    assert (whole.indices.sort(dim=1).values == torch.arange(len(sides[1]))).all()


@quick
@given(feature_pairs(), METRICS)
def test_queries_are_independent(sides, metric):
    queries, gallery = sides
    together = nearest(queries, gallery, 5, metric=metric)
    for row, query in enumerate(queries):
        alone = nearest(query[None], gallery, 5, metric=metric)
        assert torch.equal(alone.indices[0], together.indices[row])
        assert torch.equal(alone.distances[0], together.distances[row])


@quick
@given(feature_pairs(), st.sampled_from([1 / 3, 0.1, 7.0, 1e30]))
def test_cosine_distance_ignores_norms(sides, factor):
    queries, gallery = sides
    plain, scaled = nearest(queries, gallery, 5), nearest(queries * factor, gallery, 5)
    torch.testing.assert_close(plain.distances, scaled.distances, rtol=0, atol=2e-7)


@quick
@given(feature_pairs(), st.floats(0, 5))
def test_expansion_with_k_1_is_the_identity(sides, alpha):
    for side, expanded in zip(sides, expand(*sides, k=1, alpha=alpha)):
        assert torch.equal(side, expanded)


@quick
@given(feature_pairs(), st.integers(1, 8), st.floats(0, 1), METRICS)
def test_reranked_distances_are_bounded(sides, k1, weight, metric):
    reranked = k_reciprocal(*sides, k1=k1, k2=1, lambda_value=weight, metric=metric)
    plain = nearest(*sides, len(sides[1]), metric=metric)
    assert (reranked.distances >= 0).all()
    assert reranked.distances.max() <= max(1.0, float(plain.distances.max())) * (1 + 1e-6)
    assert (reranked.indices.sort(dim=1).values == torch.arange(len(sides[1]))).all()


@quick
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 20))
def test_scores_are_bounded_and_ignore_query_order(seed, num_queries, num_gallery):
    generator = np.random.default_rng(seed)
    distances = generator.integers(0, 6, (num_queries, num_gallery)).astype(np.float32)
    gallery_ids = generator.integers(0, 3, num_gallery)
    query_ids = np.append(generator.integers(0, 4, num_queries - 1), gallery_ids[0])
    scores = score(distances, query_ids, gallery_ids, roc=True)
    percentages = {key: value for key, value in scores.items() if not key.startswith("num_")}
    assert all(0 <= value <= 100 + 1e-9 for value in percentages.values())
    assert scores["Rank-1"] <= scores["Rank-5"] <= scores["Rank-10"]
    reversed_scores = score(distances[::-1].copy(), query_ids[::-1].copy(), gallery_ids, roc=True)
    assert all(abs(reversed_scores[key] - scores[key]) < 1e-9 for key in scores)


@quick
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_keys_sort_by_distance_then_row_and_decode(values):
    distances, rows = torch.tensor(values), torch.arange(len(values))
    keys = encode_keys(distances, rows)
    assert torch.equal(keys.argsort(), distances.sort(stable=True).indices)
    decoded_distances, decoded_rows = decode_keys(keys)
    assert torch.equal(decoded_distances, distances)
    assert torch.equal(decoded_rows, rows)


@quick
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_patents_of_one_drawing_score_like_drawings(seed, num_gallery):
    distances = np.random.default_rng(seed).integers(0, 6, (3, num_gallery)).astype(np.float32)
    scores = score(distances, [0, num_gallery - 1, num_gallery // 2], range(num_gallery))
    for patent_distance in ("best", "mean"):
        patents = score(
            distances, [0, num_gallery - 1, num_gallery // 2], range(num_gallery), patent_distance=patent_distance
        )
        assert [patents[f"patent/{name}"] for name in ("mAP", "Rank-1", "Rank-10")] == [
            scores[name] for name in ("mAP", "Rank-1", "Rank-10")
        ]


@quick
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_perfect_ranking_scores_100(seed, num_matches):
    distances = np.sort(np.random.default_rng(seed).random(20)).astype(np.float32)[None]
    scores = score(distances, ["a"], ["a"] * num_matches + ["b"] * (20 - num_matches), top_k=num_matches)
    assert {value for key, value in scores.items() if not key.startswith("num_")} == {100.0}
