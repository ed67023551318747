"""Saved queries: checked first, searched only in new drawings, each hit reported once, also after a kill."""

import argparse
import contextlib
import json
import sqlite3

import pytest
from index_pages import write_pages

import fastreid.index
from fastreid.cli import index_add, index_update
from fastreid.cli.index_follow import Follower
from fastreid.evaluation.calibration import Calibration, write_calibration
from fastreid.index import embedder, ingest
from fastreid.index.hit_file import HitFile
from fastreid.index.query_monitor import QueryMonitor
from fastreid.index.saved_queries import SavedQuery, read_queries
from fastreid.index.sources import find_source
from fastreid.utils.errors import InputError, StorageError
from fastreid.utils.termination import StopRequest

pytest.importorskip("lancedb", reason="the extra `search` is not installed")


@pytest.fixture
def collection(model, drawings, tmp_path):
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    collection.add([drawings])
    return collection


def report(collection, monitor):
    """Return (query, name of the file) of the hits that are reported."""
    reported = []
    num = collection.report_hits(monitor, reported.extend)
    assert num == len(reported)
    return [(one.query, one.hit.path.rsplit("/", 1)[1]) for one in reported]


def test_only_new_drawings_are_hits_and_only_once(collection, drawings, tmp_path):
    write_pages(drawings, ["D3/x.png", "D3/y.png", "D4/z.png"], first=20)
    (tmp_path / "meta.csv").write_text("patent,locarno\nD3,06-01\nD4,07-01\n")
    [name] = [row["id"] for block in collection.scan(["id"], "patent = D2") for row in block]
    monitor = QueryMonitor(
        [
            SavedQuery("all", (str(drawings / "D1/a.png"),), ids=(name,)),
            SavedQuery("grouped", (str(drawings / "D3/x.png"),), group="patent"),
            SavedQuery("filtered", (str(drawings / "D3/x.png"),), filter="locarno STARTSWITH 06", k=1),
            SavedQuery("near", (str(drawings / "D4/z.png"),), min_score=0.9999),
        ]
    )
    collection.add([drawings], metadata=tmp_path / "meta.csv", monitor=monitor)
    hits = report(collection, monitor)
    assert sorted(hits[:3]) == [("all", "x.png"), ("all", "y.png"), ("all", "z.png")]
    assert hits[3:] == [("grouped", "x.png"), ("grouped", "z.png"), ("filtered", "x.png"), ("near", "z.png")]
    assert report(collection, monitor) == []
    collection.update(monitor=monitor)
    assert report(collection, monitor) == []
    # Removed and added again with the same content: reported before. Another content: a new hit.
    assert collection.remove(where="patent = D4 OR patent = D2") == 2  # also the drawing of a query
    collection.add([drawings], monitor=monitor)
    assert report(collection, monitor) == [("grouped", "c.png")]
    write_pages(drawings, ["D4/z.png"], first=30)
    collection.update(monitor=monitor)
    assert report(collection, monitor) == [("all", "z.png"), ("grouped", "z.png")]


def test_reported_drawing_that_is_added_again_takes_no_place_of_another(collection, drawings):
    write_pages(drawings, ["D3/x.png"], first=20)
    monitor = QueryMonitor([SavedQuery("best", (str(drawings / "D3/x.png"),), group="patent", k=1)])
    collection.update(monitor=monitor)
    assert report(collection, monitor) == [("best", "x.png")]
    assert collection.remove(where="patent = D3") == 1
    write_pages(drawings, ["D3/y.png", "D4/z.png"], first=21)
    collection.add([drawings], monitor=monitor)
    assert report(collection, monitor) == [("best", "z.png")]


def test_kill_between_the_marks_reports_no_other_drawing_of_a_group(collection, drawings):
    write_pages(drawings, ["D3/x.png", "D3/y.png"], first=20)
    monitor = QueryMonitor([SavedQuery("best", (str(drawings / "D3/x.png"),), group="patent")])
    collection.update(monitor=monitor)

    def mark_and_fail(hits):
        collection._side_data.mark("reported", [one.key for one in hits])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collection.report_hits(monitor, mark_and_fail)
    assert report(collection, monitor) == []


def test_drawings_of_an_addition_without_queries_are_not_hits(collection, drawings):
    monitor = QueryMonitor([SavedQuery("all", (str(drawings / "D1/a.png"),))])
    write_pages(drawings, ["D3/x.png"], first=20)
    collection.update()
    write_pages(drawings, ["D3/y.png"], first=21)
    collection.update(monitor=monitor)
    assert report(collection, monitor) == [("all", "y.png")]


def test_drawings_are_new_for_each_file_of_queries(collection, drawings):
    first, second = (
        QueryMonitor([SavedQuery(name, (str(drawings / "D1/a.png"),))], f"/queries/{name}.yml") for name in "ab"
    )
    write_pages(drawings, ["D3/x.png"], first=20)
    collection.update(monitor=first)  # killed before its queries were searched
    write_pages(drawings, ["D3/y.png"], first=21)
    collection.update(monitor=second)
    assert report(collection, second) == [("b", "y.png")]
    assert report(collection, second) == []
    collection.update(monitor=first)
    assert report(collection, first) == [("a", "x.png")]
    write_pages(drawings, ["D3/z.png"], first=22)
    collection.update(monitor=QueryMonitor([]))  # a mark without a name, as in earlier versions
    collection.update(monitor=second)
    assert report(collection, second) == [("b", "z.png")]
    assert collection._side_data.list_marked("new") == set()


@pytest.mark.parametrize("moment", ["before the rows", "after a batch", "before the file", "after the file"])
def test_killed_run_reports_each_hit_once(collection, drawings, tmp_path, monkeypatch, moment):
    write_pages(drawings, ["D3/x.png", "D3/y.png"], first=20)
    query = SavedQuery("all", (str(drawings / "D1/a.png"),))
    monitor = QueryMonitor([query])
    monkeypatch.setattr(ingest, "BATCH_SIZE", 1)
    path = tmp_path / "hits.json"

    def fail(*arguments, **options):
        raise KeyboardInterrupt

    def write_and_fail(hits):
        HitFile(path).add(hits)
        raise KeyboardInterrupt

    def run():
        if moment == "after a batch":
            answers = [False]
            collection.add([drawings], monitor=monitor, should_stop=lambda: not answers or answers.pop())
            raise KeyboardInterrupt
        collection.add([drawings], monitor=monitor)
        collection.report_hits(monitor, write_and_fail if moment == "after the file" else fail)

    with monkeypatch.context() as patch:
        if moment == "before the rows":
            patch.setattr(ingest, "store_rows", fail)
        with pytest.raises(KeyboardInterrupt):
            run()
    again = fastreid.index.open(collection.folder)
    monitor = QueryMonitor([query])
    again.update(monitor=monitor)
    again.report_hits(monitor, HitFile(path).add)
    assert again.report_hits(monitor, fail) == 0
    hits = json.loads(path.read_text())["hits"]
    assert sorted(hit["path"].rsplit("/", 1)[1] for hit in hits) == ["x.png", "y.png"]


def test_queries_are_checked_before_the_first_drawing(collection, drawings, tmp_path, monkeypatch):
    write_pages(drawings, ["D3/x.png"], first=20)
    monkeypatch.setattr(embedder.Embedder, "embed_drawings", lambda *arguments: pytest.fail("a drawing was read"))
    picture = (str(drawings / "D1/a.png"),)
    for query, message in (
        (SavedQuery("q", picture, filter="patnt = D1"), "saved query 'q': .*Did you mean 'patent'"),
        (SavedQuery("q", picture, group="patnt"), "saved query 'q': .*Did you mean 'patent'"),
        (SavedQuery("q", ids=("x",)), "saved query 'q': .*no drawing with the id 'x'"),
        (SavedQuery("q", (str(tmp_path / "gone.png"),)), r"saved query 'q': .*gone.png"),
        (SavedQuery("q", picture, min_probability=0.5), "needs a model with a calibration"),
    ):
        with pytest.raises(InputError, match=message):
            collection.update(monitor=QueryMonitor([query]))


def test_probability_selects_hits(collection, drawings, tmp_path, monkeypatch):
    sha256 = collection.manifest.model.weights_sha256
    monkeypatch.setattr("fastreid.index.probability.find_model_directory", lambda name: tmp_path)
    write_calibration(tmp_path, Calibration(80.0, -75.0, 50, 500, weights_sha256=sha256))
    write_pages(drawings, ["D3/x.png", "D3/y.png"], first=20)
    monitor = QueryMonitor([SavedQuery("q", (str(drawings / "D3/x.png"),), min_probability=0.9)])
    collection.update(monitor=monitor)
    assert ("q", "x.png") in report(collection, monitor)


def test_file_of_queries(tmp_path):
    path = tmp_path / "queries.yml"
    path.write_text(
        "- {name: chair, pictures: [a.png], min_score: 0.5}\n- {name: cup, ids: [x, x], min_probability: 1}\n"
    )
    chair, cup = read_queries(path)
    assert chair == SavedQuery("chair", (str(tmp_path / "a.png"),), min_score=0.5)
    assert cup == SavedQuery("cup", ids=("x",), min_probability=1)
    (tmp_path / "queries.json").write_text(
        '[{"name": "a", "pictures": ["/b.png"], "min_score": -1, "group": "patent"}]'
    )
    assert read_queries(tmp_path / "queries.json")[0].pictures == ("/b.png",)
    for text, message in (
        ("{name: chair}", "must be a list of queries"),
        ("[1]", "query 1: must have fields"),
        ("[{", "neither JSON nor YAML"),
        ("[{name: a, pictures: [b], min_scor: 1}]", "the field 'min_scor' is unknown. Did you mean 'min_score'"),
        ("[{name: a, pictures: [b], min_score: 2}]", "min_score is 2; give a number from -1 to 1"),
        ("[{name: a, pictures: b, min_score: 1}]", "pictures is 'b'; give a list of texts"),
        ("[{name: a, min_score: 1}]", "has no pictures and no ids"),
        ("[{name: a, pictures: [b]}]", "give min_score or min_probability"),
        ("[{pictures: [b], min_score: 1, k: 0}]", "k is 0; give an integer from 1"),
        ("[{name: 5, pictures: [b], min_score: 1}]", "the name is 5; give a text"),
        ("[{name: a, ids: [b], min_score: 1}, {name: a, ids: [c], min_score: 1}]", "the name 'a' is repeated"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as error:
            read_queries(path)
        assert message in str(error.value)
    with pytest.raises(InputError, match=r"must end in \.json"):
        read_queries(tmp_path / "queries.txt")


def test_other_file_is_not_overwritten_by_hits(tmp_path):
    (tmp_path / "hits.json").write_text("[]")
    with pytest.raises(InputError, match="is not a list of hits"):
        HitFile(tmp_path / "hits.json")


@pytest.fixture
def options(collection, drawings, tmp_path):
    """Return the options of `index update`, with two queries whose names differ only in characters."""
    fields = {"pictures": [str(drawings / "D1/a.png")], "min_score": -1}
    (tmp_path / "queries.json").write_text(json.dumps([{"name": name, **fields} for name in ("cup 1", "cup/1")]))
    return argparse.Namespace(
        collection=str(collection.folder),
        model=None,
        watch=None,
        watch_queries=tmp_path / "queries.json",
        hits=None,
        hits_html=tmp_path / "reports",
    )


def test_each_query_has_a_report(options, drawings, tmp_path):
    write_pages(drawings, ["D3/x.png"], first=20)
    assert index_update.run(options) == 0
    names = sorted(path.name.split("Z-")[1] for path in (tmp_path / "reports").iterdir())
    assert names == ["1-cup-1.html", "2-cup-1.html"]
    options.hits_html = tmp_path / "queries.json" / "reports"
    with pytest.raises(StorageError, match="cannot be written"):
        Follower(options, StopRequest())


def test_invalid_query_leaves_no_new_collection(options, drawings, tmp_path, model):
    fields = {"pictures": [str(drawings / "D1/a.png")], "min_score": -1, "filter": "patnt = D1"}
    (tmp_path / "queries.json").write_text(json.dumps([{"name": "cup", **fields}]))
    added = {"paths": [str(drawings)], "model": str(model), "metadata": None, "images": None, "no_metadata": False}
    arguments = argparse.Namespace(**vars(options) | added | {"collection": str(tmp_path / "new")})
    with pytest.raises(InputError, match="Did you mean 'patent'"):
        index_add.run(arguments)
    assert not fastreid.index.exists(tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {".lock"}
    arguments.watch_queries = arguments.hits_html = None
    assert index_add.run(arguments) == 0
    assert fastreid.index.open(tmp_path / "new").count() == 3
    arguments.watch_queries = tmp_path / "queries.json"
    with pytest.raises(InputError, match="Did you mean 'patent'"):
        index_add.run(arguments)
    assert fastreid.index.open(tmp_path / "new").count() == 3


def test_errors_end_a_watch_before_it_starts(options, collection, drawings):
    options.watch = 60
    (drawings / "D1/a.png").rename(drawings / "b.png")
    with pytest.raises(InputError, match=r"saved query 'cup 1': .*a\.png"):
        index_update.run(options)
    collection.remove_source(drawings)
    with pytest.raises(InputError, match="has no source to update from"):
        index_update.run(options)


def test_only_files_are_counted_as_changing(options, tmp_path, capsys):
    options.watch = 60
    (tmp_path / "empty").mkdir()
    source = find_source(str(tmp_path / "empty"))
    assert Follower(options, StopRequest()).find_unfinished([source]) == {source.path}
    assert capsys.readouterr().out == ""
    write_pages(tmp_path, ["empty/new.png"])
    Follower(options, StopRequest()).find_unfinished([source])
    assert capsys.readouterr().out.startswith("1 file changed less than 60 s ago")


def test_collection_of_an_earlier_version_is_read_without_a_change(collection):
    path = collection.folder / "thumbnails.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        for mark in ("new", "reported"):
            database.execute(f"DROP TABLE IF EXISTS {mark}")
    content = path.read_bytes()
    assert collection.thumbnail(next(collection.scan(["id"]))[0]["id"])
    assert path.read_bytes() == content
    collection._backend.add_columns({"family": "integer"})  # its type was chosen by the first table
    with pytest.raises(InputError, match="family: 'x' is not an integer"):
        collection.search(ids=[next(collection.scan(["id"]))[0]["id"]], exclude_families=["x"])
