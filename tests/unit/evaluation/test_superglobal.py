import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_embeddings import make_embeddings

from fastreid.evaluation import Evaluator, ExpansionSettings, RerankSettings, ScoreSettings, expand, nearest
from fastreid.evaluation.postprocess.superglobal import SuperGlobalDistances, SuperGlobalSettings
from fastreid.evaluation.search.nearest import build_metric_space, topk_of_blocks
from fastreid.evaluation.steps import Expand, FuseRanks, Rerank, RerankSuperGlobal
from fastreid.utils.errors import InputError


def features(num_queries=15, num_gallery=60, width=16):
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(15, width, generator=generator)
    rows = centers.repeat(num_queries + num_gallery, 1)[: num_queries + num_gallery]
    rows = rows + 0.8 * torch.randn(rows.shape, generator=generator)
    return rows[:num_queries], rows[num_queries:] * torch.rand(num_gallery, 1, generator=generator)


def rerank(queries, gallery, *, metric="cosine", memory_mb=64, **settings):
    space = build_metric_space(queries, gallery, metric)
    return SuperGlobalDistances(space, SuperGlobalSettings(**settings), memory_mb=memory_mb)


def rerank_with_plain_loops(query, gallery, *, top_n, k, beta):
    """Return (score, gallery row) of the top_n nearest drawings of a query, best first, from lists and loops."""
    unit = [row / math.sqrt(sum(value * value for value in row)) for row in gallery.double().numpy()]
    q = query.double().numpy() / math.sqrt(sum(value * value for value in query.tolist()))
    top = sorted(range(len(unit)), key=lambda row: -float(np.dot(q, unit[row])))[:top_n]
    refined = {}
    for row in top:
        cosines = {other: float(np.dot(unit[row], unit[other])) for other in top if other != row}
        total, weight = unit[row].copy(), 1.0
        for other in sorted(cosines, key=cosines.get, reverse=True)[:k]:
            cosine = max(cosines[other], 0)
            total += beta * cosine * unit[other]
            weight += beta * cosine
        refined[row] = total / weight
    best = sorted(top, key=lambda row: -float(np.dot(q, refined[row])))[: k + 1]
    expanded = [max(refined[row][component] for row in best) for component in range(len(q))]
    scores = [(float(np.dot(q, refined[row]) + np.dot(expanded, refined[row])) / 2, row) for row in top]
    return sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("top_n", "k", "beta"), [(20, 4, 0.15), (60, 9, 0.5), (7, 9, 0.15), (100, 1, 1.0), (1, 3, 0.15), (30, 5, 0.0)]
)
def test_reranking_equals_plain_loops(top_n, k, beta):
    queries, gallery = features()
    ranking = rerank(queries, gallery, top_n=top_n, k=k, beta=beta).topk(min(top_n, 60))
    for query in range(len(queries)):
        expected = rerank_with_plain_loops(queries[query], gallery, top_n=top_n, k=k, beta=beta)
        assert ranking.indices[query].tolist() == [row for _, row in expected]
        np.testing.assert_allclose(ranking.distances[query].numpy(), [1 - score for score, _ in expected], atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_drawings_below_top_n_keep_their_order(metric):
    queries, gallery = features()
    source, plain = rerank(queries, gallery, metric=metric, top_n=12), nearest(queries, gallery, 60, metric=metric)
    whole = topk_of_blocks(source.blocks(), 60)
    assert torch.equal(whole.indices[:, 12:], plain.indices[:, 12:])
    assert torch.equal(whole.distances[:, 12:], plain.distances[:, 12:])
    assert torch.equal(whole.indices[:, :12], source.topk(12).indices)
    assert torch.equal(whole.distances[:, :12], torch.arange(-12.0, 0).expand(15, 12))
    assert torch.equal(whole.indices[:, :12].sort().values, plain.indices[:, :12].sort().values)
    assert not torch.equal(whole.indices[:, :12], plain.indices[:, :12])
    assert not source.is_comparable
    with pytest.raises(InputError, match=r"k must be at most top_n \(TEST.SUPERGLOBAL.TOP_N\) 12, not 13"):
        source.topk(13)


def test_blocks_of_selected_queries_equal_those_of_all():
    source = rerank(*features(), top_n=12)
    rows = torch.tensor([7, 3])
    everything = torch.cat([distances for _, distances in source.blocks()])
    assert torch.equal(torch.cat([distances for _, distances in source.blocks(rows)]), everything[rows])


def test_reranking_does_not_depend_on_memory_budget_or_other_queries():
    queries, gallery = features(num_gallery=900, width=512)
    settings = {"top_n": 300, "k": 5}
    small, large = (rerank(queries, gallery, memory_mb=mb, **settings).topk(20) for mb in (1, 1024))
    alone = rerank(queries[4:5], gallery, **settings).topk(20)
    assert torch.equal(small.indices, large.indices)
    assert torch.equal(small.distances, large.distances)
    assert torch.equal(alone.distances[0], small.distances[4])


def test_reranking_ignores_the_norms_of_features():
    queries, gallery = features()
    scaled = rerank(queries * 8, gallery * 0.25, top_n=30).topk(30)
    assert torch.equal(scaled.indices, rerank(queries, gallery, top_n=30).topk(30).indices)


def test_duplicates_are_ordered_by_row():
    ranking = rerank(torch.eye(3)[:1], torch.eye(3)[[0, 1, 0, 0, 0]], top_n=5, k=2).topk(5)
    assert ranking.indices.tolist() == [[0, 2, 3, 4, 1]]
    assert ranking.distances[0, 0] == 0


def test_opposite_neighbors_get_no_weight():
    gallery = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [0.9, -0.1]])
    ranking = rerank(torch.tensor([[1.0, 0.0]]), gallery, top_n=3, k=2, beta=1000.0).topk(3)
    expected = rerank_with_plain_loops(torch.tensor([1.0, 0.0]), gallery, top_n=3, k=2, beta=1000.0)
    assert ranking.indices[0].tolist() == [row for _, row in expected]


def test_neighbor_of_the_nearest_drawing_rises():
    nearest_drawing, its_neighbor, other = [0.9, 0.43, 0.0], [0.3, 0.95, 0.0], [0.35, 0.0, 0.93]
    gallery, query = torch.tensor([nearest_drawing, its_neighbor, other]), torch.tensor([[1.0, 0.0, 0.0]])
    assert nearest(query, gallery, 3).indices.tolist() == [[0, 2, 1]]
    assert rerank(query, gallery, top_n=3, k=1, beta=0.5).topk(3).indices.tolist() == [[0, 1, 2]]


def test_step_reranks_the_result_of_the_steps_before():
    step, expansion = RerankSuperGlobal(SuperGlobalSettings(top_n=30)), Expand(ExpansionSettings(k=4, alpha=2.0))
    result = Evaluator(steps=[expansion, step])(*make_embeddings())
    assert [name for name, _ in result.steps] == ["search", "+ AQE and DBA", "+ SuperGlobal"]
    features = expand(*(side.features for side in make_embeddings()), k=4, alpha=2.0)
    assert torch.equal(result.ranking.indices, rerank(*features, top_n=30).topk(10).indices)


def test_ranks_are_fused_after_the_reranking():
    queries, gallery = make_embeddings()
    queries = replace(queries, patents=tuple(f"D{row % 5}" for row in range(20)))
    result = Evaluator(steps=[RerankSuperGlobal(SuperGlobalSettings(top_n=30)), FuseRanks()])(queries, gallery)
    assert [name for name, _ in result.steps] == ["search", "+ SuperGlobal", "+ ranks fused"]
    ranked = rerank(queries.features, gallery.features, top_n=30).topk(30).indices.tolist()
    for object_row in range(5):
        best_rank = {}
        for row in range(object_row, 20, 5):
            for rank, drawing in enumerate(ranked[row]):
                best_rank[drawing] = min(rank, best_rank.get(drawing, rank))
        expected = sorted(best_rank, key=lambda drawing: (best_rank[drawing], drawing))[:10]
        for row in range(object_row, 20, 5):
            assert result.ranking.indices[row].tolist() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_n": 0}, r"top_n \(TEST.SUPERGLOBAL.TOP_N\) must be an integer of at least 1, not 0"),
        ({"k": 0}, r"k \(TEST.SUPERGLOBAL.K\) must be an integer of at least 1, not 0"),
        ({"beta": -0.1}, r"beta \(TEST.SUPERGLOBAL.BETA\) must be a number of at least 0, not -0.1"),
        ({"beta": math.nan}, "must be a number of at least 0, not nan"),
    ],
)
def test_invalid_settings_are_rejected(options, message):
    with pytest.raises(InputError, match=message):
        SuperGlobalSettings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": ScoreSettings(top_k=401)}, r"TOP_N\) must be at least top_k \(TEST.TOP_K\) 401, not 400"),
        ({"scoring": ScoreSettings(roc=True)}, "TEST.ROC needs distances that are comparable"),
        ({"metric": "inner_product"}, "re-ranking needs a distance"),
        ({"after": Rerank(RerankSettings(8, 3, 0.3))}, r"'\+ SuperGlobal' works on distances and would discard"),
    ],
)
def test_incompatible_settings_are_rejected_before_any_work(options, message):
    steps = [*([options.pop("after")] if "after" in options else []), RerankSuperGlobal(SuperGlobalSettings())]
    with pytest.raises(InputError, match=message):
        Evaluator(steps=steps, **options)


def test_reranking_rejects_inner_products():
    with pytest.raises(InputError, match="re-ranking needs a distance"):
        rerank(*features(), metric="inner_product", top_n=5)
