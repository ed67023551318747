"""The same searches and scores on a CUDA device: pytest -m gpu."""

import pytest
import torch

from fastreid.evaluation import Evaluator, ExpansionSettings, RerankSettings, expand, k_reciprocal, nearest
from fastreid.evaluation.pipeline import Expand, FuseFeatures, FuseRanks, Rerank
from fastreid.evaluation.search.nearest import METRICS
from fastreid.structures import Embeddings

pytestmark = pytest.mark.gpu


def features(num=9000, width=256):
    generator = torch.Generator().manual_seed(0)
    patents = torch.arange(num) // 6
    rows = torch.randn(num // 6, width, generator=generator)[patents] + torch.randn(num, width, generator=generator)
    rows[100:180] = rows[50]  # a crowd
    return rows[::4].contiguous(), rows, patents


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "auto"])
@pytest.mark.parametrize("metric", METRICS.names())
def test_the_gpu_finds_what_the_cpu_finds_to_the_last_bit(metric, precision):
    queries, gallery, _ = features()
    wanted = nearest(queries, gallery, 10, metric=metric, precision="float32")
    for left, right in ((queries, gallery), (gallery, gallery)):
        found = nearest(left.cuda(), right.cuda(), 10, metric=metric, precision=precision)
        rows = slice(None) if left is queries else slice(None, None, 4)
        assert torch.equal(found.indices.cpu()[rows], wanted.indices)
        assert torch.equal(found.distances.cpu()[rows], wanted.distances)


def test_tensor_cores_with_tf32_keep_the_search_exact():
    queries, gallery, _ = features()
    wanted = nearest(queries, gallery, 10)
    try:
        torch.set_float32_matmul_precision("high")
        found = nearest(queries.cuda(), gallery.cuda(), 10, precision="float32")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found.indices.cpu(), wanted.indices)


def test_expansion_and_re_ranking_on_the_gpu_are_those_of_the_cpu():
    queries, gallery, _ = features()
    for found, wanted in zip(
        expand(queries.cuda(), gallery.cuda(), k=5, alpha=2.0), expand(queries, gallery, k=5, alpha=2.0)
    ):
        torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-5)
    for more in ({}, {"form": "paper"}, {"top_n": 50}):
        choices = {"k1": 20, "k2": 6, "lambda_value": 0.3, "k": 10, **more}
        found, wanted = (
            k_reciprocal(queries.cuda(), gallery.cuda(), **choices),
            k_reciprocal(queries, gallery, **choices),
        )
        torch.testing.assert_close(found.distances.cpu(), wanted.distances, rtol=0, atol=1e-5)


def test_scores_of_a_pipeline_on_the_gpu_are_those_of_the_cpu():
    queries, gallery, patents = features()
    words, names = tuple(map(str, patents.tolist())), tuple(f"{row}.png" for row in range(len(patents)))
    sides = Embeddings(queries, words[::4], names[::4]), Embeddings(gallery, words, names)
    steps = [Expand(ExpansionSettings(k=5, alpha=2.0)), Rerank(RerankSettings(k1=20, k2=6, lambda_value=0.3))]
    on_gpu, on_cpu = (Evaluator(steps=steps, device=device)(*sides) for device in ("cuda", "cpu"))
    assert on_gpu.steps[0] == on_cpu.steps[0]  # plain search: the same distances, so the same scores
    assert on_gpu.scores == pytest.approx(on_cpu.scores, abs=0.05)


@pytest.mark.parametrize("step", [FuseFeatures(), FuseRanks()])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_fused_queries_on_the_gpu_rank_as_on_the_cpu(step, metric):
    queries, gallery, patents = features()
    words, names = tuple(map(str, patents.tolist())), tuple(f"{row}.png" for row in range(len(patents)))
    sides = Embeddings(queries, words[::4], names[::4]), Embeddings(gallery, words, names)
    on_gpu, on_cpu = (Evaluator(metric=metric, steps=[step], device=device)(*sides) for device in ("cuda", "cpu"))
    assert on_gpu.scores == pytest.approx(on_cpu.scores, abs=0.05)
