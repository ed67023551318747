"""Re-ranking with local features, compared with plain loops."""

import math

import numpy as np
import pytest
import torch

from fastreid.evaluation import Evaluator, ScoreSettings, nearest
from fastreid.evaluation.postprocess.local_rerank import (
    LocalDistances,
    LocalFeatures,
    LocalSettings,
    iter_local_distances,
    learn_projection,
    score_local_matches,
)
from fastreid.evaluation.search.nearest import build_metric_space, topk_of_blocks
from fastreid.evaluation.steps import RerankLocal
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

NUM_POSITIONS, CHANNELS = 9, 6


def local_rows(num, seed):
    """Return rows (num, 1 + P + P * C) in which a third of the positions have no ink."""
    generator = torch.Generator().manual_seed(seed)
    ink = torch.rand(num, NUM_POSITIONS, generator=generator)
    ink[ink < 1 / 3] = 0
    values = torch.randn(num, NUM_POSITIONS * CHANNELS, generator=generator) + 3
    return torch.cat([torch.ones(num, 1), ink, values], dim=1)


@pytest.fixture(scope="module")
def sides():
    """Features of 7 queries and 30 gallery drawings, and their local features."""
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(7, 5, generator=generator), torch.randn(30, 5, generator=generator)
    return queries, gallery, LocalFeatures(local_rows(7, 1), local_rows(30, 2), NUM_POSITIONS)


def rerank(sides, *, metric="cosine", memory_mb=64, **settings):
    queries, gallery, local = sides
    space = build_metric_space(queries, gallery, metric)
    return LocalDistances(space, local, LocalSettings(**settings), memory_mb=memory_mb)


def score_with_plain_loops(query, drawing):
    """Return the score of two lists of unit features."""
    if not query or not drawing:
        return 0.0
    cosine = [[sum(a * b for a, b in zip(one, other)) for other in drawing] for one in query]
    total = 0.0
    for row, values in enumerate(cosine):
        partner = values.index(max(values))
        column = [values[partner] for values in cosine]
        if column.index(max(column)) == row:
            total += max(values[partner], 0) ** 2
    return total / math.sqrt(len(query) * len(drawing))


def project_with_numpy(local, dim):
    """Return, for queries and gallery, the projected unit features of the positions with ink as lists."""
    parts = []
    for side in (local.queries, local.gallery):
        rows = side.double().numpy()
        ink = rows[:, 1 : NUM_POSITIONS + 1] >= 0.01
        parts.append((ink, rows[:, NUM_POSITIONS + 1 :].reshape(len(rows), NUM_POSITIONS, CHANNELS)))
    samples = parts[1][1][parts[1][0]]
    mean, covariance = samples.mean(axis=0), np.cov(samples.T, bias=True)
    variances, components = np.linalg.eigh(covariance)
    order = np.argsort(-variances)[:dim]
    matrix = components[:, order] / np.sqrt(variances[order] + 0.02 * np.trace(covariance) / CHANNELS)
    results = []
    for ink, values in parts:
        projected = (values - mean) @ matrix
        projected /= np.linalg.norm(projected, axis=2, keepdims=True)
        results.append([row[present].tolist() for row, present in zip(projected, ink)])
    return results


@pytest.mark.parametrize(("top_n", "dim", "weight"), [(12, 4, 1.0), (30, 6, 0.3), (100, 2, 5.0), (1, 64, 1.0)])
def test_reranking_equals_plain_loops(top_n, dim, weight, sides):
    queries, gallery, local = sides
    ranking = rerank(sides, top_n=top_n, dim=dim, weight=weight).topk(min(top_n, 30))
    cosines = np.array([[float(torch.cosine_similarity(q, g, dim=0)) for g in gallery] for q in queries])
    local_queries, local_gallery = project_with_numpy(local, dim)
    for query, row in enumerate(cosines):
        top = sorted(range(30), key=lambda drawing: -row[drawing])[:top_n]
        distances = {
            drawing: 1 - row[drawing] - weight * score_with_plain_loops(local_queries[query], local_gallery[drawing])
            for drawing in top
        }
        expected = sorted(top, key=distances.get)
        assert ranking.indices[query].tolist() == expected
        np.testing.assert_allclose(ranking.distances[query], [distances[drawing] for drawing in expected], atol=1e-5)


def test_drawing_has_score_1_with_itself_and_with_its_positions_in_another_order():
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(20, 8, generator=generator), dim=1)
    others = torch.stack([unit, unit[torch.randperm(20, generator=generator)], -unit])
    has_ink = torch.ones(3, 20, dtype=torch.bool)
    scores = score_local_matches(unit, others, has_ink)
    torch.testing.assert_close(scores[:2], torch.ones(2))
    assert scores[2] < 0.6
    has_ink[1, 5:] = False
    half = score_local_matches(unit, others, has_ink)[1]
    torch.testing.assert_close(half, torch.tensor(5 / math.sqrt(20 * 5)))
    blank = score_local_matches(unit, others, torch.zeros_like(has_ink))
    assert torch.equal(blank, torch.zeros(3))
    assert torch.equal(score_local_matches(unit[:0], others, has_ink), torch.zeros(3))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_drawings_below_top_n_keep_their_order(metric, sides):
    source = rerank(sides, metric=metric, top_n=12)
    plain = nearest(*sides[:2], 30, metric=metric)
    whole = topk_of_blocks(source.blocks(), 30)
    assert torch.equal(whole.indices[:, 12:], plain.indices[:, 12:])
    assert torch.equal(whole.indices[:, :12], source.topk(12).indices)
    assert torch.equal(whole.indices[:, :12].sort().values, plain.indices[:, :12].sort().values)
    with pytest.raises(InputError, match=r"k must be at most top_n \(TEST.LOCAL.TOP_N\) 12, not 13"):
        source.topk(13)


def test_weight_0_keeps_the_order_and_memory_does_not_matter(sides):
    assert torch.equal(rerank(sides, weight=0.0).topk(30).indices, nearest(*sides[:2], 30).indices)
    assert torch.equal(rerank(sides, memory_mb=1).topk(30).indices, rerank(sides).topk(30).indices)


def test_settings_that_differ_in_the_weight_share_their_scores(sides, monkeypatch):
    queries, gallery, local = sides
    space = build_metric_space(queries, gallery, "cosine")
    choices = [LocalSettings(12, 0.5), LocalSettings(12, 2.0), LocalSettings(10, 2.0)]
    single = [LocalDistances(space, local, choice, memory_mb=64).topk(10).indices for choice in choices]
    calls = []
    original = learn_projection
    monkeypatch.setattr(
        "fastreid.evaluation.postprocess.local_rerank.learn_projection",
        lambda *arguments: calls.append(1) or original(*arguments),
    )
    shared = iter_local_distances(space, local, choices, memory_mb=64)
    assert all(torch.equal(one.topk(10).indices, other) for one, other in zip(shared, single, strict=True))
    assert len(calls) == 2


def test_step_ranks_and_scores(sides):
    queries, gallery, local = sides
    patents = [str(row % 7) for row in range(30)]
    names = [f"{row}.png" for row in range(37)]
    embeddings = Embeddings(queries, patents[:7], names[:7]), Embeddings(gallery, patents, names[7:])
    evaluator = Evaluator(steps=[RerankLocal(LocalSettings(top_n=12))], scoring=ScoreSettings(top_k=5))
    evaluation = evaluator(*embeddings, local=lambda: local)
    assert [name for name, _ in evaluation.steps] == ["search", "+ local features"]
    assert torch.equal(evaluation.ranking.indices, rerank(sides, top_n=12).topk(5).indices)
    with pytest.raises(InputError, match=r"there are none; extract with TEST\.LOCAL\.ENABLED True"):
        evaluator(*embeddings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_n": 0}, r"top_n \(TEST.LOCAL.TOP_N\) must be an integer of at least 1, not 0"),
        ({"dim": 0}, r"dim \(TEST.LOCAL.DIM\) must be an integer of at least 1, not 0"),
        ({"weight": -1.0}, r"weight \(TEST.LOCAL.WEIGHT\) must be a number of at least 0, not -1"),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(InputError, match=message):
        LocalSettings(**settings)


def test_local_features_of_other_drawings_or_positions_raise(sides):
    queries, gallery, local = sides
    with pytest.raises(InputError, match=r"local features have 64 floats, which do not fit 10 positions"):
        LocalFeatures(local.queries, local.gallery, 10)
    space = build_metric_space(queries[:5], gallery, "cosine")
    with pytest.raises(InputError, match=r"local features of 7 queries and 30 gallery .* of 5 queries and 30"):
        LocalDistances(space, local, LocalSettings(), memory_mb=64)
    blank = local.gallery.clone()
    blank[:, 1 : NUM_POSITIONS + 1] = 0
    with pytest.raises(InputError, match="no drawing of the gallery has ink"):
        learn_projection(LocalFeatures(local.queries, blank, NUM_POSITIONS), 4)
