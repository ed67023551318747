"""Collections on a Milvus server: search equals the exact reference, changes, and errors."""

import dataclasses
import datetime

import numpy as np
import pytest
import torch
from index_pages import check_several_values, write_pages

import fastreid.index
from fastreid.evaluation import nearest
from fastreid.index import IndexSettings, ModelIdentity, QueryMonitor, SavedQuery
from fastreid.index.backends import milvus, milvus_table
from fastreid.index.backends.milvus_client import connect, is_address, parse_address
from fastreid.index.backends.milvus_records import MilvusRecords, MilvusSideData
from fastreid.index.milvus_store import MilvusStore
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError, WeightsError

MODEL = ModelIdentity("random features", "0" * 64, {"INPUT.SIZE_TEST": [64, 64]})
NUM, DIM, K = 1200, 32, 10
FILTERS = {
    "": lambda row: True,
    "locarno STARTSWITH 0 AND year IN 2004..2015": lambda row: row % 30 < 10 and 2004 <= 2000 + row % 20 <= 2015,
    "filing_date < 2003-01-01": lambda row: row % 20 < 3,
    "NOT awarded >= 2003-01-01": lambda row: row % 20 < 3 or row % 7 == 0,
}


def make_features():
    """Return features in clusters of ten, and queries near three of these."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(NUM // 10, DIM, generator=generator)
    rows = centers.repeat_interleave(10, dim=0) + 0.4 * torch.randn(NUM, DIM, generator=generator)
    return rows, centers[:3] + 0.4 * torch.randn(3, DIM, generator=generator)


ROWS, QUERIES = make_features()


def make_row(row):
    day = datetime.date(2000 + row % 20, 1, 1)
    values = {"id": f"{row:05}", "patent": f"D{row // 10}", "locarno": f"{row % 30:02}-01", "year": day.year}
    return values | {"filing_date": day, "awarded": day if row % 7 else None}


def create(address, **settings):
    return fastreid.index.create(address, model=MODEL, dim=DIM, settings=IndexSettings(**settings))


@pytest.fixture(scope="module")
def collection(milvus_server):
    collection = create(f"{milvus_server}/reference")
    collection.add_features(ROWS, [make_row(row) for row in range(NUM)], model=MODEL)
    return collection


def check_equals_reference(collection, filters=tuple(FILTERS)):
    for where in filters:
        is_selected = FILTERS[where]
        selected = [row for row in range(NUM) if is_selected(row)]
        ranking = nearest(QUERIES, ROWS[selected], K)
        assert collection.count(where) == len(selected)
        for number, query in enumerate(QUERIES):
            hits = collection.search_features(query[None], model=MODEL, k=K, where=where)
            assert [hit.id for hit in hits] == [f"{selected[row]:05}" for row in ranking.indices[number].tolist()]
            assert [hit.distance for hit in hits] == ranking.distances[number].tolist()


def test_search_equals_the_reference(collection):
    check_equals_reference(collection)
    reader = fastreid.index.open(collection.uri)  # another process
    check_equals_reference(reader, [""])
    assert reader.columns()["awarded"] == "date"
    assert reader.get(["00001"])[0]["awarded"] == datetime.date(2001, 1, 1)
    assert reader.get(["00000"])[0]["awarded"] is None
    assert reader.info()["search"] == "exact"
    assert collection.check().faults == []


def test_groups_are_complete(collection, monkeypatch):
    ranking = nearest(QUERIES[:1], ROWS, NUM).indices[0].tolist()
    best = list({row // 10: row for row in reversed(ranking)}.items())
    expected = [f"{row:05}" for row in sorted((row for _, row in best), key=ranking.index)[:40]]
    search = {"model": MODEL, "k": 40, "group": "patent"}
    assert [hit.id for hit in collection.search_features(QUERIES[:1], **search)] == expected
    monkeypatch.setattr(milvus, "_MAX_RESULTS", 100)  # then groups take several searches
    assert [hit.id for hit in collection.search_features(QUERIES[:1], **search)] == expected
    hits = collection.search_features(QUERIES[:1], model=MODEL, k=250)
    assert [hit.id for hit in hits] == [f"{row:05}" for row in ranking[:250]]


def test_index_of_a_large_collection(milvus_server, monkeypatch):
    monkeypatch.setattr(milvus, "NUM_SAMPLES", 8)
    collection = create(f"{milvus_server}/large", exact_max_rows=1000, num_partitions=20)
    collection.add_features(ROWS, [make_row(row) for row in range(NUM)], model=MODEL)
    search = collection.info()["search"]
    assert search.startswith("IVF index of 20 partitions, measured recall ")
    ids = nearest(QUERIES, ROWS, K).indices.tolist()
    found = [[hit.id for hit in collection.search_features(query[None], model=MODEL, k=K)] for query in QUERIES]
    recalls = [len({f"{row:05}" for row in rows} & set(names)) / K for rows, names in zip(ids, found, strict=True)]
    assert np.mean(recalls) >= 0.8
    where = "NOT awarded >= 2003-01-01"  # few drawings: exact
    selected = [row for row in range(NUM) if FILTERS[where](row)]
    expected = [f"{selected[row]:05}" for row in nearest(QUERIES[:1], ROWS[selected], K).indices[0].tolist()]
    hits = collection.search_features(QUERIES[:1], model=MODEL, k=K, where=where)
    assert [hit.id for hit in hits] == expected
    collection.compact()
    assert collection.info()["search"] == search
    assert collection.count() == NUM


def test_changes(milvus_server, monkeypatch):
    collection = create(f"{milvus_server}/changes")
    monkeypatch.setattr(milvus_table, "_BYTES_PER_CALL", 500)  # several calls
    monkeypatch.setattr(milvus, "_MARGIN", 1)  # fewer than there are equally near drawings
    same = torch.ones(50, DIM)
    names = [f"{row:02}" for row in range(48)] + ["quote \"'\\", "日本 %_"]
    collection.add_features(same, [{"id": name} for name in reversed(names)], model=MODEL)
    hits = collection.search_features(same[:1], model=MODEL, k=3)
    assert [(hit.id, hit.distance, hit.patent) for hit in hits] == [(f"{row:02}", 0.0, None) for row in range(3)]
    assert len(collection.search_features(same[:1], model=MODEL, k=99, group="patent")) == 50
    reader = fastreid.index.open(collection.uri)
    columns = reader.columns()
    collection.add_features(-same[:1], [{"id": "07", "title": "new", "weight": 2, "key": "mine"}], model=MODEL)
    assert collection.count() == 50
    row = reader.get(["07"])[0]
    assert "weight" not in columns
    assert (row["weight"], row["key"], row["title"], row["patent"]) == (2, "mine", "new", None)
    assert reader.search_features(-same[:1], model=MODEL, k=1)[0].id == "07"
    assert collection.remove(ids=names[-2:], where="weight = 2") == 3
    assert {row["id"] for block in reader.scan(["id"]) for row in block} == {*names[:48]} - {"07"}
    assert (collection.info()["version"], collection.info()["bytes"]) == (4, None)
    with pytest.raises(InputError, match="title has 70,000 bytes; a Milvus server stores at most 65,535"):
        collection.add_features(same[:1], [{"id": "a", "title": "x" * 70_000}], model=MODEL)


def test_drawings_of_a_folder(milvus_server, model, drawings):
    collection = fastreid.index.create(f"{milvus_server}/drawings", model=model)
    assert collection.add([drawings]).describe() == "3 drawings added, 0 unchanged"
    reader = fastreid.index.open(collection.uri)
    hit = reader.search(str(drawings / "D1/b.png"), k=1)[0]
    assert (hit.path, hit.patent, hit.score) == (str(drawings / "D1/b.png"), "D1", 1.0)
    assert reader.thumbnail(hit.id).startswith(b"\x89PNG")
    (drawings / "D1/a.png").unlink()
    write_pages(drawings, ["D3/new.png"], first=9)
    assert reader.remove(ids=[hit.id]) == 1
    assert reader.thumbnail(hit.id) is None
    described = collection.update().describe()
    assert described == "1 drawing added, 1 unchanged, 1 removed, 1 removed earlier"
    assert collection.add([drawings]).describe() == "1 drawing added, 2 unchanged"
    assert collection.update().describe() == "0 drawings added, 3 unchanged"
    MilvusSideData(collection._store._records).delete_thumbnails([hit.id])
    assert collection.check().faults == [f"{hit.id}: has no thumbnail; `fastreid index compact` repairs this"]
    assert collection.compact() == []
    assert (collection.check().num_drawings, collection.check().faults, collection.check().notes) == (3, [], [])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://localhost:19530", "is no address of a collection"),
        ("http://localhost:19530/a/b/c", "is no address of a collection"),
        ("http://localhost:19530/my-patents", "the name 'my-patents' is invalid"),
        ("http://localhost:19530/" + "a" * 201, "is invalid; use letters"),
        ("http://localhost:99999/a", "is invalid"),
        ("ftp://localhost/a", "the scheme 'ftp' is unknown"),
        ("http://root:secret@localhost/a", "must not contain a user or password; set the variable FASTREID_MILVUS"),
        ("http://localhost/a?token=b", "is no address"),
    ],
)
def test_invalid_addresses(address, message):
    assert is_address(address)
    with pytest.raises(InputError) as error:
        parse_address(address)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


def test_parts_of_an_address():
    assert str(parse_address("http://[::1]/a")) == "http://[::1]:19530/a"
    address = parse_address("https://search.example.org/office/designs/")
    assert (str(address), address.database) == ("https://search.example.org:443/office/designs", "office")
    assert [parse_address(f"{start}/a").is_exposed for start in ("http://10.0.0.1", "https://10.0.0.1")] == [1, 0]


def test_idle_connection_sends_no_pings(milvus_server, monkeypatch):
    options = {}
    pymilvus = pytest.importorskip("pymilvus")
    client = pymilvus.MilvusClient
    monkeypatch.setattr(pymilvus, "MilvusClient", lambda **given: options.update(given) or client(**given))
    connect(parse_address(f"{milvus_server}/name")).close()
    assert options["grpc_options"]["grpc.keepalive_time_ms"] >= 300_000  # gRPC's servers close after three within 5 min


def test_errors_of_a_server(milvus_server, collection, monkeypatch):
    for address, error, message in (
        (f"{milvus_server}/absent", InputError, r"absent: no such collection on the server; `fastreid index add`"),
        (f"{milvus_server}/nowhere/absent", InputError, "the server has no database 'nowhere'"),
        ("http://127.0.0.1:1/a", StorageError, "the server is not reachable"),
    ):
        with pytest.raises(error, match=message) as found:
            fastreid.index.open(address)
        assert len(str(found.value).splitlines()) == 1
    other = ModelIdentity("other", "1" * 64, MODEL.settings)
    with pytest.raises(WeightsError, match="of the model random features"):
        collection.search_features(QUERIES, model=other)
    with pytest.raises(InputError, match=r"float32 \(n, 32\), not \(3, 8\)"):
        collection.search_features(QUERIES[:, :8], model=MODEL)
    with pytest.raises(InputError, match=r"must be float32 \(1, 32\)"):
        collection._backend.insert([{"id": "a"}], torch.ones(1, 8))
    with pytest.raises(InputError, match="reference: is already a collection"):
        create(collection.uri)
    with pytest.raises(InputError, match="is on a server and has no folder"):
        collection.folder  # noqa: B018
    with pytest.raises(InputError, match="refine_factor is a setting of a folder"):
        create(f"{milvus_server}/new", refine_factor=3)
    client = connect(parse_address(collection.uri))
    monkeypatch.setattr(type(client), "get_server_version", lambda self, timeout: "v2.4.17-dev")
    with pytest.raises(InputError, match=r"new: a server of Milvus 2\.4; 2\.5 or newer is needed"):
        create(f"{milvus_server}/new")
    monkeypatch.undo()
    client.create_collection("foreign", dimension=DIM)
    with pytest.raises(InputError, match="foreign: the server has this collection, but it is not of fastreid"):
        create(f"{milvus_server}/foreign")
    client.release_collection("reference")
    with pytest.raises(StorageError, match="its index is being built"):
        collection.search_features(QUERIES[:1], model=MODEL)
    assert fastreid.index.open(collection.uri).count() == NUM


def test_damaged_manifest(milvus_server):
    address = f"{milvus_server}/damaged"
    create(address)._store._records.store_text("manifest", "{}")
    with pytest.raises(StorageError, match="damaged: its manifest: damaged; restore it"):
        fastreid.index.open(address)


def test_creation_continues_after_a_kill(milvus_server):
    address = parse_address(f"{milvus_server}/half")
    client = connect(address)
    MilvusRecords(client, address).create()
    milvus.MilvusBackend.create_table(client, address, dim=8)
    assert not fastreid.index.exists(str(address))
    assert create(str(address)).info()["dimension"] == DIM
    assert fastreid.index.exists(str(address))


def test_empty_collection_is_discarded(milvus_server):
    address = f"{milvus_server}/discarded"
    fastreid.index.create(address, model=MODEL, dim=DIM).discard()
    assert not fastreid.index.exists(address)
    collection = fastreid.index.create(address, model=MODEL, dim=DIM + 1)  # another table
    collection.add_features(torch.ones(1, DIM + 1), [{"id": "a"}], model=MODEL)
    collection.discard()
    assert fastreid.index.open(address).count() == 1


def test_without_pymilvus(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymilvus", None)
    with pytest.raises(EnvironmentSetupError, match="the extra `milvus`: pip install pymilvus"):
        fastreid.index.open("http://localhost/a")


def test_second_creator_does_not_overwrite_the_first(collection):
    store = MilvusStore(parse_address(collection.uri))
    with pytest.raises(InputError, match="is already a collection"):
        store.create(dataclasses.replace(collection.manifest, created="later"))  # as if it had found the name free
    assert store.read_manifest().created == collection.manifest.created


@pytest.mark.parametrize("column", ["locarno", "classes"])  # a field, and a dynamic field
def test_filters_on_several_values(milvus_server, column):
    check_several_values(create(f"{milvus_server}/several_{column}"), MODEL, column)


def test_groups_of_several_values_are_complete(milvus_server, monkeypatch):
    monkeypatch.setattr(milvus, "_MAX_RESULTS", 4)
    collection = create(f"{milvus_server}/grouped")
    texts = ["06", "06|07", "07", "06|07|08", None, "08", "06"]
    collection.add_features(
        ROWS[:7], [{"id": str(row), "classes": text} for row, text in enumerate(texts)], model=MODEL
    )
    hits = collection.search_features(ROWS[:1], model=MODEL, k=6, group="classes")
    assert {hit.metadata.get("classes") for hit in hits} == set(texts)


def test_hits_of_saved_queries_are_reported_once(milvus_server, model, tmp_path):
    write_pages(tmp_path, ["D1/a.png", "D1/b.png"])
    collection = fastreid.index.create(f"{milvus_server}/monitored", model=model)
    monitor = QueryMonitor([SavedQuery("a", (str(tmp_path / "D1/a.png"),), min_score=0.9999)])
    collection.add([tmp_path / "D1"], monitor=monitor)
    hits = []
    assert [collection.report_hits(monitor, hits.extend) for _ in range(2)] == [1, 0]
    assert hits[0].hit.path == str(tmp_path / "D1/a.png")
