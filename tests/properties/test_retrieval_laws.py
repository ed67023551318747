"""Laws that search, expansion, re-ranking and scores keep for any features."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.evaluation import expand, k_reciprocal, nearest, score
from fastreid.evaluation.search.order import decode, encode

# Small whole numbers make equal rows and equal distances common.
NUMBERS = st.integers(-3, 3)
METRICS = st.sampled_from(["cosine", "euclidean"])
few = settings(max_examples=40, deadline=None)


@st.composite
def features(draw, *, most=12):
    width = draw(st.integers(1, 4))
    row = st.lists(NUMBERS, min_size=width, max_size=width).filter(any)
    sides = [draw(st.lists(row, min_size=1, max_size=most)) for _ in range(2)]
    return tuple(torch.tensor(side, dtype=torch.float32) for side in sides)


@few
@given(features(), st.integers(1, 15), METRICS)
def test_the_first_k_begin_the_whole_ranking_and_distances_rise(sides, k, metric):
    first, whole = nearest(*sides, k, metric=metric), nearest(*sides, len(sides[1]), metric=metric)
    assert torch.equal(first.indices, whole.indices[:, :k])
    assert (whole.distances.diff(dim=1) >= 0).all()
    equal = whole.distances.diff(dim=1) == 0
    assert (whole.indices.diff(dim=1)[equal] > 0).all()
    assert (whole.indices.sort(dim=1).values == torch.arange(len(sides[1]))).all()


@few
@given(features(), METRICS)
def test_queries_do_not_see_each_other(sides, metric):
    queries, gallery = sides
    together = nearest(queries, gallery, 5, metric=metric)
    for row, query in enumerate(queries):
        alone = nearest(query[None], gallery, 5, metric=metric)
        assert torch.equal(alone.indices[0], together.indices[row])
        assert torch.equal(alone.distances[0], together.distances[row])


@few
@given(features(), st.sampled_from([1 / 3, 0.1, 7.0, 1e30]))
def test_the_cosine_does_not_see_length(sides, factor):
    queries, gallery = sides
    plain, scaled = nearest(queries, gallery, 5), nearest(queries * factor, gallery, 5)
    torch.testing.assert_close(plain.distances, scaled.distances, rtol=0, atol=2e-7)


@few
@given(features(), st.floats(0, 5))
def test_expansion_by_one_changes_nothing(sides, alpha):
    for side, expanded in zip(sides, expand(*sides, k=1, alpha=alpha)):
        assert torch.equal(side, expanded)


@few
@given(features(), st.integers(1, 8), st.floats(0, 1), METRICS)
def test_reranked_distances_lie_between_nothing_and_the_larger_of_both(sides, k1, share, metric):
    found = k_reciprocal(*sides, k1=k1, k2=1, lambda_value=share, metric=metric)
    plain = nearest(*sides, len(sides[1]), metric=metric)
    assert (found.distances >= 0).all()
    assert found.distances.max() <= max(1.0, float(plain.distances.max())) * (1 + 1e-6)
    assert (found.indices.sort(dim=1).values == torch.arange(len(sides[1]))).all()


@few
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 20))
def test_scores_lie_within_their_bounds_and_do_not_see_the_order_of_queries(seed, num_queries, num_gallery):
    generator = np.random.default_rng(seed)
    distances = generator.integers(0, 6, (num_queries, num_gallery)).astype(np.float32)
    gallery_ids = generator.integers(0, 3, num_gallery)
    query_ids = np.append(generator.integers(0, 4, num_queries - 1), gallery_ids[0])
    found = score(distances, query_ids, gallery_ids, roc=True)
    shares = {key: value for key, value in found.items() if not key.startswith("num_")}
    assert all(0 <= value <= 100 + 1e-9 for value in shares.values())
    assert found["Rank-1"] <= found["Rank-5"] <= found["Rank-10"]
    turned = score(distances[::-1].copy(), query_ids[::-1].copy(), gallery_ids, roc=True)
    assert all(abs(turned[key] - found[key]) < 1e-9 for key in found)


@few
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_keys_sort_as_distance_then_row_and_give_both_back(values):
    distances, rows = torch.tensor(values), torch.arange(len(values))
    keys = encode(distances, rows)
    assert torch.equal(keys.argsort(), distances.sort(stable=True).indices)
    back, back_rows = decode(keys)
    assert torch.equal(back, distances)
    assert torch.equal(back_rows, rows)


@few
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_patents_of_one_drawing_each_score_as_drawings_do(seed, num_gallery):
    distances = np.random.default_rng(seed).integers(0, 6, (3, num_gallery)).astype(np.float32)
    found = score(distances, [0, num_gallery - 1, num_gallery // 2], range(num_gallery))
    for way in ("best", "mean"):
        patents = score(distances, [0, num_gallery - 1, num_gallery // 2], range(num_gallery), patent_distance=way)
        assert [patents[f"patent/{name}"] for name in ("mAP", "Rank-1", "Rank-10")] == [
            found[name] for name in ("mAP", "Rank-1", "Rank-10")
        ]


@few
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_a_perfect_ranking_gets_everything(seed, num_matches):
    distances = np.sort(np.random.default_rng(seed).random(20)).astype(np.float32)[None]
    found = score(distances, ["a"], ["a"] * num_matches + ["b"] * (20 - num_matches), top_k=num_matches)
    assert {value for key, value in found.items() if not key.startswith("num_")} == {100.0}
