"""Searches and scores on a CUDA device equal those on the CPU; run with pytest -m gpu."""

import pytest
import torch

from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    NegativeSettings,
    RerankSettings,
    SuperGlobalSettings,
    expand,
    k_reciprocal,
    nearest,
    subtract_negatives,
)
from fastreid.evaluation.postprocess.superglobal import SuperGlobalDistances
from fastreid.evaluation.search.nearest import METRICS
from fastreid.evaluation.steps import Expand, FuseFeatures, FuseRanks, Rerank
from fastreid.structures import Embeddings

pytestmark = pytest.mark.gpu


def make_features(num=9000, width=256):
    generator = torch.Generator().manual_seed(0)
    patents = torch.arange(num) // 6
    rows = torch.randn(num // 6, width, generator=generator)[patents] + torch.randn(num, width, generator=generator)
    rows[100:180] = rows[50]  # duplicates
    return rows[::4].contiguous(), rows, patents


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "auto"])
@pytest.mark.parametrize("metric", METRICS.names())
def test_nearest_on_gpu_equals_cpu_bit_for_bit(metric, precision):
    queries, gallery, _ = make_features()
    expected = nearest(queries, gallery, 10, metric=metric, precision="float32")
    for left, right in ((queries, gallery), (gallery, gallery)):
        result = nearest(left.cuda(), right.cuda(), 10, metric=metric, precision=precision)
        rows = slice(None) if left is queries else slice(None, None, 4)
        assert torch.equal(result.indices.cpu()[rows], expected.indices)
        assert torch.equal(result.distances.cpu()[rows], expected.distances)


def test_tf32_keeps_the_search_exact():
    queries, gallery, _ = make_features()
    expected = nearest(queries, gallery, 10)
    try:
        torch.set_float32_matmul_precision("high")
        result = nearest(queries.cuda(), gallery.cuda(), 10, precision="float32")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(result.indices.cpu(), expected.indices)


def test_expansion_and_reranking_on_gpu_equal_cpu():
    queries, gallery, _ = make_features()
    for result, expected in zip(
        expand(queries.cuda(), gallery.cuda(), k=5, alpha=2.0), expand(queries, gallery, k=5, alpha=2.0)
    ):
        torch.testing.assert_close(result.cpu(), expected, rtol=0, atol=1e-5)
    for options in ({}, {"form": "paper"}, {"top_n": 50}):
        settings = {"k1": 20, "k2": 6, "lambda_value": 0.3, "k": 10, **options}
        result, expected = (
            k_reciprocal(queries.cuda(), gallery.cuda(), **settings),
            k_reciprocal(queries, gallery, **settings),
        )
        torch.testing.assert_close(result.distances.cpu(), expected.distances, rtol=0, atol=1e-5)


def test_negatives_and_super_global_on_gpu_equal_cpu():
    queries, gallery, _ = make_features(num=3000)
    background = torch.randn(500, 256, generator=torch.Generator().manual_seed(1))
    moved, expected = (
        subtract_negatives(queries.to(device), background.to(device), NegativeSettings()) for device in ("cuda", "cpu")
    )
    torch.testing.assert_close(moved.cpu(), expected, rtol=0, atol=1e-6)
    rankings = [
        SuperGlobalDistances(
            METRICS.get("cosine")(queries[:50].to(device), gallery.to(device)), SuperGlobalSettings(), memory_mb=256
        ).topk(50)
        for device in ("cuda", "cpu")
    ]
    torch.testing.assert_close(rankings[0].distances.cpu(), rankings[1].distances, rtol=0, atol=1e-6)


def test_pipeline_scores_on_gpu_equal_cpu():
    queries, gallery, patents = make_features()
    patent_ids, names = tuple(map(str, patents.tolist())), tuple(f"{row}.png" for row in range(len(patents)))
    sides = Embeddings(queries, patent_ids[::4], names[::4]), Embeddings(gallery, patent_ids, names)
    steps = [Expand(ExpansionSettings(k=5, alpha=2.0)), Rerank(RerankSettings(k1=20, k2=6, lambda_value=0.3))]
    on_gpu, on_cpu = (Evaluator(steps=steps, device=device)(*sides) for device in ("cuda", "cpu"))
    assert on_gpu.steps[0] == on_cpu.steps[0]  # plain search: the same distances, so the same scores
    assert on_gpu.scores == pytest.approx(on_cpu.scores, abs=0.05)


@pytest.mark.parametrize("step", [FuseFeatures(), FuseRanks()])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_query_fusion_on_gpu_equals_cpu(step, metric):
    queries, gallery, patents = make_features()
    patent_ids, names = tuple(map(str, patents.tolist())), tuple(f"{row}.png" for row in range(len(patents)))
    sides = Embeddings(queries, patent_ids[::4], names[::4]), Embeddings(gallery, patent_ids, names)
    on_gpu, on_cpu = (Evaluator(metric=metric, steps=[step], device=device)(*sides) for device in ("cuda", "cpu"))
    assert on_gpu.scores == pytest.approx(on_cpu.scores, abs=0.05)
