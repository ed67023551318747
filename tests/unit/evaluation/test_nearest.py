import sys
from functools import partial

import numpy as np
import pytest
import torch

from fastreid.evaluation import nearest
from fastreid.evaluation.search.nearest import METRICS
from fastreid.evaluation.search.passes import build_bfloat16_pass
from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.mapped_rows import MappedRows


def rank_all_pairs(queries, gallery, metric):
    """Return sorted float32 distances and their rows, computed in float64 pair by pair."""
    q, g = queries.double(), gallery.double()
    products = torch.stack([(g * row).sum(1) for row in q])
    if metric == "euclidean":
        distances = torch.stack([(g - row).square().sum(1) for row in q])
    elif metric == "inner_product":
        distances = -products
    else:
        distances = 1 - products / q.norm(dim=1)[:, None] / g.norm(dim=1)
        distances = distances.masked_fill(distances < 1e-12, 0)
    return distances.float().sort(dim=1, stable=True)


@pytest.fixture(scope="module")
def crowded():
    """Features with many duplicates, some with more duplicates than the candidate margin."""
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(70, 48, generator=generator), torch.randn(2000, 48, generator=generator)
    gallery[300:390] = gallery[7]
    gallery[900:905] = 3 * gallery[11]
    queries[3], queries[4] = gallery[7], gallery[11] / 3
    return queries, gallery


@pytest.mark.parametrize(("engine", "precision"), [("torch", "float32"), ("torch", "bfloat16"), ("faiss", "auto")])
@pytest.mark.parametrize("metric", METRICS.names())
@pytest.mark.parametrize("k", [1, 10, 120, 2000])
def test_nearest_equals_brute_force(crowded, engine, precision, metric, k):
    distances, rows = rank_all_pairs(*crowded, metric)
    for memory_mb in (1, 2, 1024):
        ranking = nearest(*crowded, k, metric=metric, memory_mb=memory_mb, engine=engine, precision=precision)
        assert torch.equal(ranking.indices, rows[:, :k])
        assert torch.equal(ranking.distances, distances[:, :k])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
def test_near_ties_do_not_depend_on_the_block_size(metric, precision):
    generator = torch.Generator().manual_seed(1)
    queries, center = torch.randn(2, 20, 512, generator=generator)
    gallery = center[0] + 1e-6 * torch.randn(900, 512, generator=generator)
    expected, rows = rank_all_pairs(queries, gallery, metric)
    assert len(set(expected[0].tolist())) < 300  # many are equal in float32, so ties are ordered by row
    for memory_mb in (1, 3, 1024):
        ranking = nearest(queries, gallery, 50, metric=metric, memory_mb=memory_mb, precision=precision)
        assert torch.equal(ranking.indices, rows[:, :50])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
@pytest.mark.parametrize("memory_mb", [1, 1024])
def test_self_search_equals_search_in_a_copy(crowded, memory_mb, metric, precision):
    gallery = crowded[1]
    same = nearest(gallery, gallery, 5, metric=metric, memory_mb=memory_mb, precision=precision)
    copied = nearest(gallery.clone(), gallery, 5, metric=metric, precision="float32")
    assert torch.equal(same.indices, copied.indices)
    assert torch.equal(same.distances, copied.distances)


def test_metric_definitions():
    queries, gallery = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.0], [3.0, 0.0], [-3.0, -4.0], [6.0, 8.0]])
    assert nearest(queries, gallery, 4, metric="euclidean").distances.tolist() == [[10, 16, 25, 100]]
    ranking = nearest(queries, gallery, 4)
    assert ranking.indices.tolist() == [[3, 0, 1, 2]]
    assert ranking.distances[0].tolist() == pytest.approx([0, 0.2, 0.4, 2])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ranking_has_k_columns(k):
    assert nearest(torch.randn(2, 8), torch.randn(3, 8), k).indices.shape == (2, k)


def test_k_above_gallery_size_returns_the_whole_gallery():
    assert nearest(torch.randn(2, 8), torch.randn(3, 8), 10).indices.shape == (2, 3)


def test_cosine_ignores_norms_whose_squares_overflow(crowded):
    queries, gallery = crowded
    plain = nearest(queries, gallery, 10)
    assert torch.equal(nearest(queries * 2.0**80, gallery * 2.0**-100, 10).indices, plain.indices)


def test_arrays_and_memory_mapped_arrays_are_accepted(tmp_path, crowded):
    np.save(tmp_path / "gallery.npy", crowded[1].numpy())
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = nearest(*crowded, 10)
    galleries = (mapped, MappedRows(mapped), mapped[:], np.asfortranarray(mapped), mapped.astype(np.float32))
    for gallery in galleries:
        ranking = nearest(crowded[0].numpy().astype(np.float64), gallery, 10, memory_mb=1)
        assert torch.equal(ranking.indices, expected.indices)


def test_nearest_does_not_modify_its_input(crowded):
    queries, gallery = crowded[0].clone(), crowded[1].clone()
    for metric in METRICS.names():
        nearest(queries, gallery, 3, metric=metric)
    assert torch.equal(queries, crowded[0])
    assert torch.equal(gallery, crowded[1])


def test_autocast_does_not_affect_the_search(crowded):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ranking = nearest(*crowded, 10)
    assert torch.equal(ranking.indices, nearest(*crowded, 10).indices)


def test_low_matmul_precision_keeps_the_search_exact(crowded):
    expected = nearest(*crowded, 10)
    try:
        torch.set_float32_matmul_precision("medium")
        ranking = nearest(*crowded, 10)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(ranking.indices, expected.indices)


def test_missing_faiss_names_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EnvironmentSetupError, match="pip install faiss-cpu"):
        nearest(torch.randn(2, 4), torch.randn(3, 4), 1, engine="faiss")


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_modified_memory_map_is_searched_and_kept(mode, tmp_path, crowded):
    np.save(tmp_path / "gallery.npy", crowded[1].numpy())
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode=mode)
    mapped[1500] = crowded[0][0].numpy()
    assert nearest(crowded[0][:1], mapped, 1).indices.tolist() == [[1500]]
    assert np.array_equal(mapped[1500], crowded[0][0].numpy())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
@pytest.mark.parametrize(("size", "longest"), [(1e-25, None), (1e-22, None), (1e-6, 1e15), (1e-12, 1e9), (1e15, 1e-6)])
def test_extreme_norms_keep_the_search_exact(size, longest, metric, precision):
    generator = torch.Generator().manual_seed(0)
    gallery, queries = (
        size * torch.randn(3000, 64, generator=generator),
        size * torch.randn(20, 64, generator=generator),
    )
    if longest is not None:
        queries[0] *= longest / size
    ranking, whole = (nearest(queries, gallery, k, metric=metric, precision=precision) for k in (5, 3000))
    assert torch.equal(ranking.indices, whole.indices[:, :5])
    assert torch.equal(ranking.distances, whole.distances[:, :5])


def test_unresolved_queries_stay_within_the_memory_budget(measure_peak_memory):
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(1, 256) + 1e-3 * torch.randn(
        100_000, 256, generator=generator
    )  # 98 MiB, also as prepared float32 rows
    queries = gallery[:5].clone()
    search = partial(nearest, gallery=gallery, k=5, memory_mb=206)
    search(queries[:2], precision="bfloat16")  # torch allocates its buffers at the first product
    ranking, held = measure_peak_memory(lambda: search(queries, precision="bfloat16"))
    assert torch.equal(ranking.indices[:, 0], torch.arange(5))
    assert held < 136  # prepared rows of one precision at a time


@pytest.mark.parametrize("rounded", ["gallery", "queries", "both"])
def test_bfloat16_error_bound_is_valid_and_tight(rounded):
    even = torch.ones(40, 64)  # exact in bfloat16
    odd = torch.full((40, 64), 0.5 * (1 + 0.95 * 2**-8))  # every value has the same rounding error
    queries = odd[:20] if rounded != "gallery" else even[:20]
    gallery = torch.cat([odd if rounded != "queries" else even, torch.full((1, 64), 1.0)])
    space = METRICS.get("inner_product")(queries, gallery)
    scan, query_rows, gallery_rows = (
        build_bfloat16_pass(space, 3, memory_mb=64, force=True).scan,
        slice(0, 20),
        slice(0, 40),
    )
    rounded = scan.queries(query_rows).double() @ scan.gallery(gallery_rows).double().T
    exact = space.query_rows(query_rows).double() @ space.gallery_rows(gallery_rows).double().T
    error = (rounded - exact).abs() / scan.error_bound[:, None]
    assert 0.4 < error.max() <= 1
