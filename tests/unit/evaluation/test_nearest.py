import sys
from functools import partial

import numpy as np
import pytest
import torch

from fastreid.evaluation import nearest
from fastreid.evaluation.search.nearest import METRICS
from fastreid.evaluation.search.passes import bfloat16_pass
from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.mapped_rows import MappedRows


def by_every_pair(queries, gallery, metric):
    """Sorted float32 distances and their rows, from float64 loops over nothing but pairs."""
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
    """Drawings with many twins, among them more than the candidates' margin."""
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(70, 48, generator=generator), torch.randn(2000, 48, generator=generator)
    gallery[300:390] = gallery[7]
    gallery[900:905] = 3 * gallery[11]
    queries[3], queries[4] = gallery[7], gallery[11] / 3
    return queries, gallery


@pytest.mark.parametrize(("engine", "precision"), [("torch", "float32"), ("torch", "bfloat16"), ("faiss", "auto")])
@pytest.mark.parametrize("metric", METRICS.names())
@pytest.mark.parametrize("k", [1, 10, 120, 2000])
def test_the_nearest_are_those_of_every_pair_whatever_the_way(crowded, engine, precision, metric, k):
    distances, rows = by_every_pair(*crowded, metric)
    for memory_mb in (1, 2, 1024):
        found = nearest(*crowded, k, metric=metric, memory_mb=memory_mb, engine=engine, precision=precision)
        assert torch.equal(found.indices, rows[:, :k])
        assert torch.equal(found.distances, distances[:, :k])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
def test_near_ties_do_not_turn_with_the_block_size(metric, precision):
    generator = torch.Generator().manual_seed(1)
    queries, centre = torch.randn(2, 20, 512, generator=generator)
    gallery = centre[0] + 1e-6 * torch.randn(900, 512, generator=generator)
    wanted, rows = by_every_pair(queries, gallery, metric)
    assert len(set(wanted[0].tolist())) < 300  # many are equal in float32, so their order is really asked for
    for memory_mb in (1, 3, 1024):
        found = nearest(queries, gallery, 50, metric=metric, memory_mb=memory_mb, precision=precision)
        assert torch.equal(found.indices, rows[:, :50])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
@pytest.mark.parametrize("memory_mb", [1, 1024])
def test_a_set_searched_in_itself_gives_what_a_copy_of_it_gives(crowded, memory_mb, metric, precision):
    gallery = crowded[1]
    own = nearest(gallery, gallery, 5, metric=metric, memory_mb=memory_mb, precision=precision)
    other = nearest(gallery.clone(), gallery, 5, metric=metric, precision="float32")
    assert torch.equal(own.indices, other.indices)
    assert torch.equal(own.distances, other.distances)


def test_euclidean_is_squared_and_cosine_is_one_minus_the_cosine():
    queries, gallery = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.0], [3.0, 0.0], [-3.0, -4.0], [6.0, 8.0]])
    assert nearest(queries, gallery, 4, metric="euclidean").distances.tolist() == [[10, 16, 25, 100]]
    found = nearest(queries, gallery, 4)
    assert found.indices.tolist() == [[3, 0, 1, 2]]
    assert found.distances[0].tolist() == pytest.approx([0, 0.2, 0.4, 2])


def test_k_beyond_the_gallery_gives_the_whole_gallery():
    assert nearest(torch.randn(2, 8), torch.randn(3, 8), 10).indices.shape == (2, 3)


def test_length_does_not_matter_to_the_cosine_even_where_float32_squares_do_not_exist(crowded):
    queries, gallery = crowded
    plain = nearest(queries, gallery, 10)
    assert torch.equal(nearest(queries * 2.0**80, gallery * 2.0**-100, 10).indices, plain.indices)


def test_arrays_also_read_only_mapped_ones_are_taken(tmp_path, crowded):
    np.save(tmp_path / "gallery.npy", crowded[1].numpy())
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    wanted = nearest(*crowded, 10)
    kinds = (mapped, MappedRows(mapped), mapped[:], np.asfortranarray(mapped), mapped.astype(np.float32))
    for gallery in kinds:
        found = nearest(crowded[0].numpy().astype(np.float64), gallery, 10, memory_mb=1)
        assert torch.equal(found.indices, wanted.indices)


def test_features_are_left_as_they_were(crowded):
    queries, gallery = crowded[0].clone(), crowded[1].clone()
    for metric in METRICS.names():
        nearest(queries, gallery, 3, metric=metric)
    assert torch.equal(queries, crowded[0])
    assert torch.equal(gallery, crowded[1])


def test_autocast_does_not_make_the_search_coarse(crowded):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest(*crowded, 10)
    assert torch.equal(found.indices, nearest(*crowded, 10).indices)


def test_a_low_matmul_precision_keeps_the_search_exact(crowded):
    wanted = nearest(*crowded, 10)
    try:
        torch.set_float32_matmul_precision("medium")
        found = nearest(*crowded, 10)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(found.indices, wanted.indices)


def test_faiss_that_is_not_installed_is_asked_for_by_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EnvironmentSetupError, match="pip install faiss-cpu"):
        nearest(torch.randn(2, 4), torch.randn(3, 4), 1, engine="faiss")


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_into_a_mapped_array_is_searched_and_stays(mode, tmp_path, crowded):
    np.save(tmp_path / "gallery.npy", crowded[1].numpy())
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode=mode)
    mapped[1500] = crowded[0][0].numpy()
    assert nearest(crowded[0][:1], mapped, 1).indices.tolist() == [[1500]]
    assert np.array_equal(mapped[1500], crowded[0][0].numpy())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", METRICS.names())
@pytest.mark.parametrize(("size", "longest"), [(1e-25, None), (1e-22, None), (1e-6, 1e15), (1e-12, 1e9), (1e15, 1e-6)])
def test_lengths_at_the_ends_of_float32_keep_the_search_exact(size, longest, metric, precision):
    generator = torch.Generator().manual_seed(0)
    gallery, queries = (
        size * torch.randn(3000, 64, generator=generator),
        size * torch.randn(20, 64, generator=generator),
    )
    if longest is not None:
        queries[0] *= longest / size
    found, whole = (nearest(queries, gallery, k, metric=metric, precision=precision) for k in (5, 3000))
    assert torch.equal(found.indices, whole.indices[:, :5])
    assert torch.equal(found.distances, whole.distances[:, :5])


def test_what_crowds_in_bfloat16_is_searched_again_within_the_budget(measured):
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(1, 256) + 1e-3 * torch.randn(160_000, 256, generator=generator)  # 156 MiB, as in float32 rows
    queries = gallery[:20].clone()
    search = partial(nearest, gallery=gallery, k=5, memory_mb=330)
    search(queries[:2], precision="bfloat16")  # what torch holds from its first product on
    found, held = measured(lambda: search(queries, precision="bfloat16"))
    assert torch.equal(found.indices[:, 0], torch.arange(20))
    assert held < 200  # rows in one precision, once


@pytest.mark.parametrize("rounded", ["gallery", "queries", "both"])
def test_the_bound_of_bfloat16_rows_holds_and_is_close_where_all_roundings_pull_one_way(rounded):
    even = torch.ones(40, 64)  # as bfloat16 has it
    odd = torch.full((40, 64), 0.5 * (1 + 0.95 * 2**-8))  # every float loses as much
    queries = odd[:20] if rounded != "gallery" else even[:20]
    gallery = torch.cat([odd if rounded != "queries" else even, torch.full((1, 64), 1.0)])
    space = METRICS.get("inner_product")(queries, gallery)
    scan, mine, theirs = bfloat16_pass(space, 3, memory_mb=64, insist=True).scan, slice(0, 20), slice(0, 40)
    narrow = scan.queries(mine).double() @ scan.gallery(theirs).double().T
    exact = space.query_rows(mine).double() @ space.gallery_rows(theirs).double().T
    error = (narrow - exact).abs() / scan.slack[:, None]
    assert 0.4 < error.max() <= 1
