"""`fastreid index` and `fastreid search` from the shell, and additions that are killed."""

import csv
import json
import random
import re
import shutil
import signal
import time

import numpy as np
import pytest
from commands import run_here, start, wait
from fork_server import get_server
from index_pages import add_in_small_batches, write_model, write_pages

import fastreid.index
from fastreid.evaluation.calibration import Calibration, write_calibration

pytest.importorskip("lancedb", reason="the extra `search` is not installed")

NAMES = [f"D{number // 3}/{number}.png" for number in range(9)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path):
    """A working folder with drawings of three patents, one broken file, and metadata."""
    write_pages(tmp_path / "drawings", NAMES)
    (tmp_path / "drawings/D2/broken.png").write_text("text")
    (tmp_path / "meta.csv").write_text("patent,locarno,title\nD0,06-01,Chair\nD1,07-02,Cup\nD2,06-03,Sofa\n")
    return tmp_path


def call(folder, command, *arguments, code=0):
    exit_code, output, errors = run_here(command, *arguments, folder=folder)
    assert exit_code == code, output + errors
    return errors if code else output


def test_from_a_folder_to_answers(folder, model):
    options = ("c", "drawings", "--model", model, "--metadata", "meta.csv")
    output = call(folder, "index add", *options)
    assert "skipped: " in output
    assert "broken.png: not an image" in output
    assert output.splitlines()[-1] == "c: 9 drawings added, 0 unchanged, 1 skipped; 9 drawings in the collection"
    output = call(folder, "--quiet index add", *options[:2])
    assert output.endswith("c: 0 drawings added, 9 unchanged, 1 skipped; 9 drawings in the collection\n")
    query = "drawings/D1/4.png"
    table = call(folder, "--quiet search", "c", query, "-k", 3).splitlines()
    assert table[0].split() == ["rank", "score", "id", "patent", "path", "page"]
    assert len(table) == 4
    _, score, name, patent, path, page = table[1].split()
    assert (score, patent, path, page) == ("1.0000", "D1", str(folder / query), "1")
    output = call(folder, "search", "c", query, "--json", "--group", "patent", "--filter", "locarno STARTSWITH 06")
    answer = json.loads(output)
    assert {hit["patent"] for hit in answer["results"]} == {"D0", "D2"}
    assert answer["results"][0].keys() == {
        *("id", "patent", "score", "probability", "distance", "path", "page", "metadata")
    }
    assert answer["results"][0]["metadata"]["title"] in ("Chair", "Sofa")
    assert answer["query"]["filter"] == "locarno STARTSWITH 06"
    options = ("--id", name, "--exclude-patent", "D0", "--csv", "hits.csv", "--crop", "0%,0%,50%,100%")
    call(folder, "search", "c", query, *options)
    rows = list(csv.DictReader((folder / "hits.csv").read_text().splitlines()))
    assert len(rows) == 5
    assert {row["patent"] for row in rows} == {"D1", "D2"}
    assert rows[0]["title"]
    assert name not in {row["id"] for row in rows}
    output = call(folder, "search", "c", query, "drawings/D0/0.png", "--combine", "best", "-k", 2, "--json")
    assert {hit["path"] for hit in json.loads(output)["results"]} == {
        str(folder / query),
        str(folder / "drawings/D0/0.png"),
    }
    assert "no drawing fulfills" in call(folder, "search", "c", query, "--filter", "locarno = 99")


def test_failed_addition_leaves_no_collection(folder, model):
    broken = "drawings/D2/broken.png"
    (folder / "list.csv").write_text("path\ngone.png\n")
    assert "none of the drawings can be read" in call(folder, "index add", "c", "list.csv", "--model", model, code=2)
    assert not (folder / "c").exists()
    call(folder, "index add", "c", "drawings/D0", "--model", model)
    assert "none of the drawings can be read" in call(folder, "index add", "c", broken, code=2)


def test_addition_opens_a_collection_that_another_process_created(folder, model, monkeypatch):
    fastreid.index.create(folder / "c", model=str(model))
    answers = iter([False, True])
    monkeypatch.setattr(fastreid.index, "exists", lambda uri: next(answers))
    assert "3 drawings in the collection" in call(folder, "index add", "c", "drawings/D0")


def test_removal_checks_all_options_first(folder, model):
    call(folder, "index add", "c", "drawings/D0", "--model", model)
    [name, *_] = [row["id"] for block in fastreid.index.open(folder / "c").scan(["id"]) for row in block]
    assert "nosuch" in call(folder, "index remove", "c", "--id", name, "--source", "nosuch", code=2)
    assert fastreid.index.open(folder / "c").count() == 3


def test_report_is_one_file_with_the_query_and_the_results(folder, model):
    call(folder, "index add", "c", "drawings", "--model", model)
    (folder / "drawings/D1").rename(folder / "drawings/<b>D1")
    call(folder, "index update", "c")
    options = ("--crop", "0%,0%,50%,100%", "--filter", "page = 1", "--html", "report.html", "-k", 4)
    call(folder, "search", "c", "drawings/<b>D1/4.png", *options)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count('<img src="data:image/png;base64,') == 5
    assert "&lt;b&gt;D1" in text
    assert "<b>" not in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    for words in (
        "crop 0%,0%,50%,100%",
        "<dd>page = 1</dd>",
        "9 drawings",
        "weights sha256",
        "4 results for 1 picture",
    ):
        assert words in text
    assert "matching lines" not in text
    [name] = [row["id"] for block in fastreid.index.open(folder / "c").scan(["id"], "patent = D2") for row in block][:1]
    (folder / "drawings/D2/8.png").rename(folder / "8.png")
    for query, num_all in (("drawings/<b>D1/4.png", 1), (("--id", name), 0)):
        query = (query,) if isinstance(query, str) else query
        call(folder, "search", "c", *query, "--html", "report.html", "--maps", 8)
        text = (folder / "report.html").read_text(encoding="utf-8")
        assert text.count("<div>matching lines ") == 7  # one file is gone, and the report has its thumbnail
        assert text.count("matching lines 100%") == num_all
        assert "orange lines have none" in text


def test_calibrated_model_gives_probabilities(folder, model, tmp_path):
    shutil.copytree(model, tmp_path / "calibrated")
    sha256 = fastreid.index.create(tmp_path / "empty", model=str(model)).manifest.model.weights_sha256
    write_calibration(tmp_path / "calibrated", Calibration(8.0, -4.0, 50, 500, weights_sha256=sha256))
    call(folder, "index add", "c", "drawings", "--model", tmp_path / "calibrated")
    results = json.loads(call(folder, "search", "c", "drawings/D1/4.png", "--json"))["results"]
    for hit in results:
        odds = np.exp(8 * hit["score"] - 4) * (1 / 3) / (2 / 3)  # three patents
        assert hit["probability"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    table = call(folder, "--quiet search", "c", "drawings/D1/4.png").splitlines()
    assert table[0].split()[2] == "probability"
    (tmp_path / "calibrated").rename(tmp_path / "moved")
    errors = call(folder, "search", "c", "drawings/D1/4.png", code=2)
    assert "its model has moved?" in errors
    assert errors.endswith("Give its new path with --model\n")
    output = call(folder, "search", "c", "drawings/D1/4.png", "--model", tmp_path / "moved", "--json")
    assert json.loads(output)["results"] == results
    (tmp_path / "moved").rename(tmp_path / "calibrated")
    write_calibration(tmp_path / "calibrated", Calibration(8.0, -4.0, 50, 500, weights_sha256="0" * 64))
    results = json.loads(call(folder, "search", "c", "drawings/D1/4.png", "--json"))["results"]
    assert {hit["probability"] for hit in results} == {None}  # of other weights


def test_maintenance(folder, model):
    assert "an empty collection of the model" in call(folder, "index create", "c", "--model", model, "--num-probes", 5)
    call(folder, "index add", "c", "drawings")
    info = json.loads(call(folder, "index info", "c", "--json"))
    assert (info["drawings"], info["patents"], info["search"]) == (9, 3, "exact")
    assert info["settings"]["num_probes"] == 5
    assert "drawings  9 of 3 patents" in call(folder, "index info", "c")
    assert call(folder, "index check", "c") == "c: 9 drawings, no fault\n"
    assert call(folder, "index export", "c", "--output", "c.csv", "--filter", "patent = D1") == "c.csv: 3 drawings\n"
    assert len((folder / "c.csv").read_text().splitlines()) == 4
    call(folder, "index export", "c", "--output", "c.npy")
    call(folder, "index export", "c", "--output", "c.parquet")
    parquet = pytest.importorskip("pyarrow.parquet").read_table(folder / "c.parquet")
    np.testing.assert_array_equal(np.load(folder / "c.npy"), np.stack(parquet.column("vector").to_numpy()))
    output = call(folder, "index remove", "c", "--filter", "patent = D1")
    assert output == "c: 3 drawings removed; 6 drawings in the collection\n"
    shutil.rmtree(folder / "drawings/D2")
    output = call(folder, "index update", "c")
    assert "c: 0 drawings added, 3 unchanged, 3 removed, 3 removed earlier; 3 drawings in" in output
    assert "search: exact" in call(folder, "index compact", "c")
    output = call(folder, "index remove", "c", "--source", "drawings")
    assert output == "c: 3 drawings removed; 0 drawings in the collection\n"
    assert call(folder, "index check", "c") == "c: 0 drawings, no fault\n"


def test_errors_are_one_line(folder, model):
    call(folder, "index add", "c", "drawings", "--model", model)
    other = write_model(folder / "other", seed=1)
    query = "drawings/D1/4.png"
    (folder / "hollow").mkdir()
    for command, arguments, code, message in (
        ("search", ("absent", query), 2, "absent: no such collection"),
        (
            "search",
            ("c", query, "--filter", "patnt = D1"),
            2,
            "position 1: the column 'patnt' is unknown. Did you mean",
        ),
        ("search", ("c", query, "--model", other), 6, "use the same model, or create a new collection"),
        ("search", ("c", query, "--crop", "1,2,3"), 2, "the crop '1,2,3' is invalid"),
        ("search", ("c", query, "--crop", "900,0,5,5"), 2, "outside of the picture, which has 64 x 64 px"),
        ("search", ("c", "gone.png"), 2, "gone.png: cannot be read"),
        ("search", ("c", query, "--id", "x"), 2, "no drawing with the id 'x'"),
        ("index add", ("new", "gone"), 2, "gone: no such file or folder"),
        ("index add", ("c", "hollow"), 2, "hollow: contains no drawing"),
        ("index add", ("c", "drawings", "--metadata", "c"), 2, "--metadata c: no such file"),
        ("index remove", ("c", "--source", "gone"), 2, "is unknown"),
        ("index create", ("drawings", "--model", model), 2, "exists and is not empty"),
    ):
        errors = call(folder, command, *arguments, code=code)
        assert message in errors
        assert len(errors.splitlines()) == 1
    assert not (folder / "new").exists()


def test_command_without_lancedb_names_the_package(folder, model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    errors = call(folder, "index create", "c", "--model", model, code=3)
    assert errors == "collections need lancedb, the extra `search`: pip install lancedb\n"


def kill_additions(folder, model, *, num_kills, rng):
    """Kill additions with a saved query at random moments, finish, and compare with one that was not interrupted."""
    names = [f"D{number // 4}/{number}.png" for number in range(40)]
    write_pages(folder / "many", names)
    whole = fastreid.index.create(folder / "whole", model=model)
    whole.add([folder / "many"])
    counts = []
    for number in range(num_kills):
        progress = folder / f"started-{number}"
        hits = folder / "hits.json"
        arguments = [str(folder / "killed"), str(folder / "many"), model, str(progress), str(hits)]
        process = get_server().start("index_pages:add_in_small_batches", *arguments, folder=folder)
        process.wait_for(progress)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        counts.append(json.loads(progress.read_text())["drawings"])
        report = fastreid.index.open(folder / "killed").check()
        assert report.faults == []
        assert report.num_drawings >= counts[-1]
    add_in_small_batches(folder / "killed", folder / "many", model, folder / "finished", hits)
    killed = fastreid.index.open(folder / "killed")
    report = killed.check()
    assert (report.num_drawings, report.faults, report.notes) == (40, [], [])
    found = [hit["path"] for hit in json.loads(hits.read_text())["hits"]]
    assert sorted(found) == sorted(str(folder / "many" / name) for name in names)  # each once
    for query in names[::8]:
        expected, found = (one.search(str(folder / "many" / query), k=5) for one in (whole, killed))
        assert [hit.id for hit in found] == [hit.id for hit in expected]
    return counts


def test_killed_additions_lose_nothing(tmp_path, model):
    kill_additions(tmp_path, model, num_kills=1, rng=random.Random(0))


@pytest.mark.faults
def test_twenty_killed_additions_lose_nothing(tmp_path, model):
    counts = kill_additions(tmp_path, model, num_kills=20, rng=random.Random(1))
    assert counts[-1] > 0


def test_following_and_saved_queries(folder, model):
    query = {"name": "cup <1>", "pictures": ["drawings/D1/4.png"], "min_score": 0.99}
    (folder / "queries.json").write_text(json.dumps([query]))
    options = ("--watch-queries", "queries.json", "--hits", "hits.json", "--hits-html", "reports")
    output = call(folder, "index add", "c", "drawings", "--model", model, *options)
    assert "1 new hit of the saved queries\n" in output
    assert "no new hit" in call(folder, "index update", "c", *options)
    write_pages(folder / "drawings", ["D4/4.png"], first=4)  # the page of D1/4.png
    (folder / "drawings/D2/broken.png").unlink()
    process = start("index update", "c", "--watch", 0.2, *options, folder=folder)
    while "D4/4.png" not in (folder / "hits.json").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, output, errors = wait(process)
    assert code == 0, output + errors
    assert "c: 1 drawing added, 9 unchanged; 10 drawings in the collection\n" in output
    assert output.endswith("c: stopped by SIGTERM; all batches are stored\n")
    hits = json.loads((folder / "hits.json").read_text())["hits"]
    assert [(hit["query"], hit["patent"]) for hit in hits] == [("cup <1>", "D1"), ("cup <1>", "D4")]
    first, second = sorted((folder / "reports").iterdir())
    assert first.name.endswith("-cup-1.html")
    assert "<dd>cup &lt;1&gt;</dd>" in first.read_text()
    assert "D4/4.png" in second.read_text()


def test_order_and_exclusions_of_a_search(folder, model):
    (folder / "meta.csv").write_text("patent,family,locarno\nD0,7,06-01 | 07-02\nD1,7,07-02\nD2,8,\n")
    call(folder, "index add", "c", "drawings", "--model", model, "--metadata", "meta.csv")
    rows = json.loads(call(folder, "search", "c", "drawings/D1/4.png", "--json", "--filter", "locarno = 07-02"))
    assert {hit["metadata"]["locarno"] for hit in rows["results"]} == {"06-01|07-02", "07-02"}
    call(folder, "index export", "c", "--output", "c.csv")
    assert "06-01|07-02" in (folder / "c.csv").read_text()
    name = rows["results"][0]["id"]
    output = call(
        folder, "search", "c", "--id", name, "--exclude-own", "--expand", "--rerank", "k-reciprocal", "--json"
    )
    answer = json.loads(output)
    assert {hit["patent"] for hit in answer["results"]} == {"D2"}
    assert (answer["query"]["expand"], answer["query"]["rerank"]) == (True, "k-reciprocal")
    output = call(folder, "search", "c", "--id", name, "--exclude-family", "8", "--group", "family", "--json")
    assert [hit["patent"] for hit in json.loads(output)["results"]] in (["D0"], ["D1"])
    call(folder, "index add", "c", "drawings", "--no-metadata")
    assert '"family"' not in call(folder, "search", "c", "drawings/D1/4.png", "--json")
    errors = call(folder, "search", "c", "drawings/D1/4.png", "--html", "nodir/r.html", code=2)
    assert errors == "nodir/r.html: there is no folder nodir; create it, or choose another one\n"
    assert not (folder / "nodir").exists()


def test_no_collection_is_left_if_all_files_are_corrupt(folder, model):
    for name in NAMES:
        (folder / "drawings" / name).write_text("text")
    errors = call(folder, "index add", "c", "drawings", "--model", model, code=2)
    assert errors.startswith("none of the drawings can be read: 10 faults\n")
    assert not (folder / "c").exists()
