"""`fastreid index` and `fastreid search` with a collection on a Milvus server, and an addition that is killed."""

import json
import time

import numpy as np
import pytest
from commands import run_here
from fork_server import get_server
from index_pages import add_in_small_batches, write_model, write_pages

import fastreid.index

NAMES = [f"D{number // 3}/{number}.png" for number in range(9)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def call(folder, command, *arguments, code=0):
    exit_code, output, errors = run_here(command, *arguments, folder=folder)
    assert exit_code == code, output + errors
    return errors if code else output


def test_commands(milvus_server, tmp_path, model):
    write_pages(tmp_path / "drawings", NAMES)
    uri = f"{milvus_server}/commands"
    assert "an empty collection of the model" in call(tmp_path, "index create", uri, "--model", model)
    output = call(tmp_path, "--quiet index add", uri, "drawings")
    assert output == f"{uri}: 9 drawings added, 0 unchanged; 9 drawings in the collection\n"
    output = call(
        tmp_path, "search", uri, "drawings/D1/4.png", "--json", "--html", "a.html", "--filter", "patent != D0"
    )
    answer = json.loads(output)
    assert answer["results"][0]["patent"] == "D1"
    assert (len(answer["results"]), answer["query"]["collection"]) == (6, uri)
    assert (tmp_path / "a.html").read_text().count('<img src="data:image/png;base64,') == 7
    assert "size      unknown, on the server" in call(tmp_path, "index info", uri)
    assert json.loads(call(tmp_path, "index info", uri, "--json"))["folder"] == uri
    call(tmp_path, "index export", uri, "--output", "c.npy")
    assert np.load(tmp_path / "c.npy").shape == (9, fastreid.index.open(uri).manifest.dim)
    output = call(tmp_path, "index remove", uri, "--filter", "patent = D1")
    assert output == f"{uri}: 3 drawings removed; 6 drawings in the collection\n"
    assert "6 unchanged, 3 removed earlier" in call(tmp_path, "index update", uri)
    assert call(tmp_path, "index compact", uri) == f"{uri}: size unknown, on the server; search: exact\n"
    assert call(tmp_path, "index check", uri) == f"{uri}: 6 drawings, no fault\n"
    for address, code, message in (
        (f"{milvus_server}/absent", 2, "no such collection on the server"),
        ("http://127.0.0.1:1/c", 5, "the server is not reachable"),
        ("http://user:secret@localhost/c", 2, "must not contain a user or password"),
    ):
        errors = call(tmp_path, "index info", address, code=code)
        assert message in errors
        assert len(errors.splitlines()) == 1
        assert "secret" not in errors


def test_killed_additions_lose_nothing(milvus_server, tmp_path, model):
    names = [f"D{number // 4}/{number}.png" for number in range(12)]
    write_pages(tmp_path / "many", names)
    uri = f"{milvus_server}/killed"
    counts = []
    for number, seconds in enumerate((0.1, 0.3)):
        progress = tmp_path / f"started-{number}"
        arguments = [uri, str(tmp_path / "many"), model, str(progress)]
        process = get_server().start("index_pages:add_in_small_batches", *arguments, folder=tmp_path)
        process.wait_for(progress)
        time.sleep(seconds)
        process.kill()
        counts.append(json.loads(progress.read_text())["drawings"])
        report = fastreid.index.open(uri).check()
        assert report.faults == []
        assert report.num_drawings >= counts[-1]
    add_in_small_batches(uri, tmp_path / "many", model, tmp_path / "finished")  # does not wait for the dead process
    killed = fastreid.index.open(uri)
    report = killed.check()
    assert (report.num_drawings, report.faults) == (12, [])
    ids = [row["id"] for block in killed.scan(["id"]) for row in block]
    assert len(ids) == len(set(ids)) == 12
