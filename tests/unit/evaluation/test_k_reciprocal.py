import math

import numpy as np
import pytest
import torch

from fastreid.evaluation import RerankSettings, k_reciprocal, nearest
from fastreid.evaluation.postprocess.rerank import KReciprocal
from fastreid.evaluation.search.nearest import first_of, open_space


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, 16, generator=generator)
    rows = centres.repeat(5, 1) + 0.8 * torch.randn(60, 16, generator=generator)
    return rows[:15], rows[15:]


def in_plain_loops(queries, gallery, *, k1, k2):
    """The Jaccard distances from sets and N x N arrays, as the paper tells it."""
    rows = torch.cat([queries, gallery]).double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(2)
    ranks = squares.argsort(axis=1, kind="stable")[:, :k1]

    def reciprocal(i, k):
        return {j for j in ranks[i, :k] if i in ranks[j, :k]}

    weights = np.zeros_like(squares)
    for i in range(len(rows)):
        members = reciprocal(i, k1)
        widened = set(members)
        for member in members:
            half = reciprocal(member, round(k1 / 2) + 1)
            if 3 * len(half & members) > 2 * len(half):
                widened |= half
        chosen = sorted(widened)
        powers = np.exp(-squares[i, chosen])
        weights[i, chosen] = powers / powers.sum()
    weights = np.stack([weights[ranks[i, :k2]].mean(0) for i in range(len(rows))])
    common = np.minimum(weights[: len(queries), None], weights[None, len(queries) :]).sum(2)
    return 1 - common / (2 - common)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (5, 1), (7, 3), (20, 6), (60, 2), (500, 1)])
def test_reranked_distances_are_those_of_plain_loops(k1, k2):
    queries, gallery = features()
    found = k_reciprocal(queries, gallery, k1=k1, k2=k2, lambda_value=0)
    matrix = torch.empty_like(found.distances).scatter_(1, found.indices, found.distances)
    np.testing.assert_allclose(matrix.numpy(), in_plain_loops(queries, gallery, k1=k1, k2=k2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_all_of_the_first_distance_is_plain_search(metric):
    found = k_reciprocal(*features(), k1=6, k2=3, lambda_value=1, metric=metric, k=10)
    plain = nearest(*features(), 10, metric=metric)
    assert torch.equal(found.indices, plain.indices)
    assert torch.equal(found.distances, plain.distances)


def test_the_first_k_are_the_beginning_of_the_whole_ranking():
    whole = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3)
    first = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3, k=5)
    assert whole.indices.shape == (15, 45)
    assert torch.equal(first.indices, whole.indices[:, :5])


def test_the_memory_budget_changes_no_reranked_bit():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(60, 32, generator=generator), torch.randn(900, 32, generator=generator)
    small, large = (
        k_reciprocal(queries, gallery, k1=10, k2=3, lambda_value=0.3, k=20, memory_mb=mb) for mb in (1, 1024)
    )
    assert torch.equal(small.indices, large.indices)
    assert torch.equal(small.distances, large.distances)


def test_drawings_that_share_no_neighbour_are_one_apart_and_ranked_by_row():
    queries, gallery = torch.eye(4)[:1], torch.eye(4)[1:]
    found = k_reciprocal(queries, gallery, k1=1, k2=1, lambda_value=0)
    assert found.indices.tolist() == [[0, 1, 2]]
    assert found.distances.tolist() == [[1, 1, 1]]


def test_more_twins_than_neighbours_leave_no_drawing_without_itself():
    found = k_reciprocal(torch.ones(3, 2), torch.ones(5, 2), k1=2, k2=1, lambda_value=0)
    assert torch.isfinite(found.distances).all()


def test_twins_are_nothing_apart():
    queries = torch.tensor([[1.0, 2.0]])
    gallery = torch.tensor([[-1.0, 1.0], [2.0, 4.0]])
    found = k_reciprocal(queries, gallery, k1=2, k2=1, lambda_value=0.5)
    assert found.indices.tolist() == [[1, 0]]
    assert math.isclose(found.distances[0, 0], 0, abs_tol=1e-7)


def test_only_the_first_are_ranked_anew_and_the_others_stay_behind_them():
    queries, gallery = features()
    settings = {"k1": 6, "k2": 3, "lambda_value": 0.3}
    plain, whole = nearest(queries, gallery, 45), k_reciprocal(queries, gallery, **settings)
    found = k_reciprocal(queries, gallery, **settings, top_n=12)
    assert found.indices.shape == (15, 12)
    assert torch.equal(found.indices.sort().values, plain.indices[:, :12].sort().values)
    for row in range(15):
        among = [drawing for drawing in whole.indices[row].tolist() if drawing in plain.indices[row, :12]]
        assert found.indices[row].tolist() == among
    source = KReciprocal(open_space(queries, gallery, "cosine"), RerankSettings(**settings, top_n=12), memory_mb=64)
    assert torch.equal(first_of(source.blocks(), 45).indices, torch.cat([found.indices, plain.indices[:, 12:]], dim=1))


def test_as_many_as_the_gallery_ranked_anew_is_all_of_it():
    whole = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3)
    first = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3, top_n=45)
    assert torch.equal(first.indices, whole.indices)
    torch.testing.assert_close(first.distances, whole.distances, rtol=0, atol=1e-6)
