"""The index of a collection above `exact_max_rows`: its type, growth, filters and changes."""

import functools

import numpy as np
import pytest
import torch

import fastreid.index
from fastreid.evaluation import nearest
from fastreid.index import IndexSettings, ModelIdentity
from fastreid.index.backends import lancedb
from fastreid.index.backends.probes import read_probes

pytest.importorskip("lancedb", reason="the extra `search` is not installed")

MODEL, K = ModelIdentity("random features", "0" * 64), 10


@functools.cache
def make_features(num, dim):
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(num // 10, dim, generator=generator)
    return centers.repeat_interleave(10, dim=0) + 0.4 * torch.randn(num, dim, generator=generator)


def make_rows(first, last):
    return [{"id": f"{row:05}", "patent": f"D{row // 10}", "year": 2000 + row % 20} for row in range(first, last)]


def build(folder, num, dim=32, **settings):
    settings = {"exact_max_rows": 500} | settings
    collection = fastreid.index.create(folder, model=MODEL, dim=dim, settings=IndexSettings(**settings))
    collection.add_features(make_features(num, dim), make_rows(0, num), model=MODEL)
    return collection


def search(collection, query, k=K, **options):
    return collection.search_features(query[None], model=MODEL, k=k, **options)


def list_ids(hits):
    return [hit.id for hit in hits]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Return a collection whose searches read half of the partitions; filters that leave 500 rows are exact."""
    return build(tmp_path_factory.mktemp("index") / "collection", 4000, num_partitions=8, num_probes=4)


@pytest.mark.parametrize(("dim", "num_sub_vectors", "kind"), [(32, 0, "IVF-RQ"), (32, 8, "IVF-PQ"), (12, 0, "IVF-PQ")])
def test_type_of_the_index(tmp_path, dim, num_sub_vectors, kind):
    collection = build(tmp_path / "c", 600, dim, num_sub_vectors=num_sub_vectors, num_partitions=1)
    assert collection.info()["search"].startswith(f"{kind} index of 600 drawings, measured recall ")
    assert search(collection, make_features(600, dim)[7])[0].id == "00007"


def test_recall_is_high_without_reading_all_rows(collection):
    features = make_features(4000, 32)
    found = [set(list_ids(search(collection, query))) for query in features[:20]]
    expected = nearest(features[:20], features, K).indices.tolist()
    hits = [len(ids & {f"{row:05}" for row in rows}) / K for ids, rows in zip(found, expected)]
    assert np.mean(hits) >= 0.85


@pytest.mark.parametrize("group", [None, "patent"])
def test_few_rows_of_a_filter_are_searched_exactly(collection, group, monkeypatch):
    """They are read, without LanceDB's own exact search, which reads all vectors."""
    monkeypatch.setattr(collection._backend, "_search_table", None)
    features, selected = make_features(4000, 32), list(range(3, 4000, 20))
    ranking = [selected[row] for row in nearest(features[:1], features[selected], len(selected)).indices[0]]
    best = {row // 10: row for row in reversed(ranking)} if group else dict(zip(ranking, ranking))
    expected = [f"{row:05}" for row in sorted(best.values(), key=ranking.index)[:K]]
    assert list_ids(search(collection, features[0], where="year = 2003", group=group)) == expected
    assert search(collection, features[0], where="year = 1990") == []


def test_a_filter_reads_more_partitions(collection, monkeypatch):
    """A search among half of the rows compares as many rows as one among all."""
    numbers = []
    original = collection._backend._table.search

    def start_search(*args, **options):
        query = original(*args, **options)
        if args:
            read = query.nprobes
            monkeypatch.setattr(query, "nprobes", lambda num: numbers.append(num) or read(num))
        return query

    monkeypatch.setattr(collection._backend._table, "search", start_search)
    search(collection, make_features(4000, 32)[0])
    hits = search(collection, make_features(4000, 32)[0], where="year < 2010")
    assert numbers == [4, 8]
    assert {hit.metadata["year"] < 2010 for hit in hits} == {True}
    monkeypatch.setattr(lancedb, "_MIN_READ", 100)  # of 4,000 rows; the filter leaves 200
    search(collection, make_features(4000, 32)[0], where="year = 2003")
    assert numbers[2:] == [80]
    monkeypatch.setattr(lancedb, "_ROWS_PER_READ", 20)
    search(collection, make_features(4000, 32)[0], where="year = 2003")
    assert numbers[3:] == []  # 4,000 / 20: they are read


def test_changes_after_the_index_was_built(tmp_path):
    """Other processes find rows outside of the index, lose removed ones, and find the same after a compaction."""
    collection = build(tmp_path / "c", 2000, num_partitions=4, num_probes=4)
    reader = fastreid.index.open(collection.folder)
    features = make_features(2000, 32)
    before = [list_ids(search(reader, query)) for query in features[:5]]
    new = torch.nn.functional.normalize(torch.randn(20, 32, generator=torch.Generator().manual_seed(1)))
    collection.add_features(new, [{"id": f"new{row}"} for row in range(20)], model=MODEL)
    assert reader.info()["search"].startswith("IVF-RQ index of 2000 drawings")
    assert [search(reader, row)[0].id for row in new] == [f"new{row}" for row in range(20)]
    collection.compact()
    assert reader.info()["search"].startswith("IVF-RQ index of 2020 drawings")
    assert [search(reader, row)[0].id for row in new] == [f"new{row}" for row in range(20)]
    assert collection.remove(where="id >= new") == 20
    assert not any(name.startswith("new") for row in new for name in list_ids(search(reader, row)))
    collection.compact()
    assert np.mean([set(list_ids(search(reader, query))) == set(ids) for query, ids in zip(features, before)]) >= 0.8
    assert reader.count() == 2000


def test_growth_rebuilds_the_index(tmp_path):
    """An index of few large partitions would make each search read many rows."""
    collection = build(tmp_path / "c", 600)
    assert read_probes(collection.folder / "lance").num_partitions == 2
    for first in range(600, 1200, 100):  # each addition is too small to be a reason
        rows = make_features(1200, 32)[first : first + 100]
        collection.add_features(rows, make_rows(first, first + 100), model=MODEL)
        collection.compact()
    assert read_probes(collection.folder / "lance").num_partitions == 4
    assert collection.info()["search"].startswith("IVF-RQ index of")


def test_an_interrupted_measurement_is_repeated(tmp_path):
    collection = build(tmp_path / "c", 600, num_partitions=4)
    (collection.folder / "lance" / "probes.json").unlink()
    collection.compact()
    assert read_probes(collection.folder / "lance").num_partitions == 4


def test_file_format_reads_few_rows_fast(collection):
    files = list((collection.folder / "lance").rglob("*.lance"))
    versions = {file.read_bytes()[-8:] for file in files if file.is_file() and file.parent.name == "data"}
    assert versions == {b"\x02\x00\x01\x00LANC"}
