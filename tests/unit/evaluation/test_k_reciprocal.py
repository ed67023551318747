import math

import numpy as np
import pytest
import torch

from fastreid.evaluation import RerankSettings, k_reciprocal, nearest
from fastreid.evaluation.postprocess.rerank import KReciprocalDistances
from fastreid.evaluation.search.nearest import build_metric_space, topk_of_blocks
from fastreid.utils.errors import InputError


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(12, 16, generator=generator)
    rows = centers.repeat(5, 1) + 0.8 * torch.randn(60, 16, generator=generator)
    return rows[:15], rows[15:]


def jaccard_with_plain_loops(queries, gallery, *, k1, k2, form="fast-reid"):
    """Return the Jaccard distances, computed with sets and N x N arrays as in the paper."""
    rows = torch.cat([queries, gallery]).double().numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    squares = ((rows[:, None] - rows[None]) ** 2).sum(2)
    num_neighbors = k1 if form == "fast-reid" else k1 + 1
    ranks = squares.argsort(axis=1, kind="stable")[:, :num_neighbors]
    if form == "paper":
        squares /= squares.max(axis=1, keepdims=True)

    def reciprocal(i, k):
        return {j for j in ranks[i, :k] if i in ranks[j, :k]}

    weights = np.zeros_like(squares)
    for i in range(len(rows)):
        members = reciprocal(i, num_neighbors)
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


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (5, 1), (7, 3), (8, 2), (20, 6), (60, 2), (500, 1), (500, 100)])
@pytest.mark.parametrize("form", ["fast-reid", "paper"])
def test_reranked_distances_equal_plain_loops(k1, k2, form):
    queries, gallery = features()
    reranked = k_reciprocal(queries, gallery, k1=k1, k2=k2, lambda_value=0, form=form)
    matrix = torch.empty_like(reranked.distances).scatter_(1, reranked.indices, reranked.distances)
    np.testing.assert_allclose(
        matrix.numpy(), jaccard_with_plain_loops(queries, gallery, k1=k1, k2=k2, form=form), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_lambda_1_is_plain_search(metric):
    reranked = k_reciprocal(*features(), k1=6, k2=3, lambda_value=1, metric=metric, k=10)
    plain = nearest(*features(), 10, metric=metric)
    assert torch.equal(reranked.indices, plain.indices)
    assert torch.equal(reranked.distances, plain.distances)


def test_k_truncates_the_whole_ranking():
    whole = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3)
    first = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3, k=5)
    assert whole.indices.shape == (15, 45)
    assert torch.equal(first.indices, whole.indices[:, :5])


def test_reranking_does_not_depend_on_memory_budget():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(60, 32, generator=generator), torch.randn(900, 32, generator=generator)
    small, large = (
        k_reciprocal(queries, gallery, k1=10, k2=3, lambda_value=0.3, k=20, memory_mb=mb) for mb in (1, 1024)
    )
    assert torch.equal(small.indices, large.indices)
    assert torch.equal(small.distances, large.distances)


def test_drawings_without_common_neighbors_have_distance_1():
    queries, gallery = torch.eye(4)[:1], torch.eye(4)[1:]
    reranked = k_reciprocal(queries, gallery, k1=1, k2=1, lambda_value=0)
    assert reranked.indices.tolist() == [[0, 1, 2]]
    assert reranked.distances.tolist() == [[1, 1, 1]]


def test_more_duplicates_than_k1_give_finite_distances():
    reranked = k_reciprocal(torch.ones(3, 2), torch.ones(5, 2), k1=2, k2=1, lambda_value=0)
    assert torch.isfinite(reranked.distances).all()


def test_duplicates_have_distance_0():
    queries = torch.tensor([[1.0, 2.0]])
    gallery = torch.tensor([[-1.0, 1.0], [2.0, 4.0]])
    reranked = k_reciprocal(queries, gallery, k1=2, k2=1, lambda_value=0.5)
    assert reranked.indices.tolist() == [[1, 0]]
    assert math.isclose(reranked.distances[0, 0], 0, abs_tol=1e-7)


def test_top_n_reranks_only_the_nearest_drawings():
    queries, gallery = features()
    settings = {"k1": 6, "k2": 3, "lambda_value": 0.3}
    plain, whole = nearest(queries, gallery, 45), k_reciprocal(queries, gallery, **settings)
    reranked = k_reciprocal(queries, gallery, **settings, top_n=12)
    assert reranked.indices.shape == (15, 12)
    assert torch.equal(reranked.indices.sort().values, plain.indices[:, :12].sort().values)
    for row in range(15):
        among = [drawing for drawing in whole.indices[row].tolist() if drawing in plain.indices[row, :12]]
        assert reranked.indices[row].tolist() == among
    source = KReciprocalDistances(
        build_metric_space(queries, gallery, "cosine"), RerankSettings(**settings, top_n=12), memory_mb=64
    )
    assert torch.equal(
        topk_of_blocks(source.blocks(), 45).indices, torch.cat([reranked.indices, plain.indices[:, 12:]], dim=1)
    )


def test_reranked_distances_are_negative_before_the_others():
    settings = RerankSettings(k1=6, k2=3, lambda_value=0.3, top_n=12)
    source = KReciprocalDistances(build_metric_space(*features(), "cosine"), settings, memory_mb=64)
    for _, distances in source.blocks():
        assert torch.equal(distances.sort(dim=1).values[:, :12], torch.arange(-12.0, 0).expand(len(distances), 12))
    assert source.topk(12).indices.shape == (15, 12)
    with pytest.raises(InputError, match="k must be at most top_n"):
        source.topk(13)


def test_top_n_of_the_gallery_size_reranks_all():
    whole = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3)
    first = k_reciprocal(*features(), k1=6, k2=3, lambda_value=0.3, top_n=45)
    assert torch.equal(first.indices, whole.indices)
    torch.testing.assert_close(first.distances, whole.distances, rtol=0, atol=1e-6)
