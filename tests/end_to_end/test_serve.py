"""`fastreid serve` as a process: start, readiness, searches, access log, and a stop that answers running requests."""

import json
import signal
import socket
import time

import pytest
from commands import run_here
from index_pages import write_model, write_pages
from serve_process import ServeProcess, make_body, read_answer

import fastreid.index

for package in ("lancedb", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the extras `search` and `serve` are not installed")

TOKEN = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a working folder with a collection of six drawings."""
    folder = tmp_path_factory.mktemp("served")
    write_pages(folder / "drawings", [f"D{number // 3}/{number}.png" for number in range(6)])
    fastreid.index.create(folder / "c", model=write_model(folder / "model")).add([folder / "drawings"])
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


def test_server_from_start_to_stop(folder):
    server = ServeProcess(folder, "--token-file", "token", "--enable-changes", "uploads")
    assert server.get("/api/v1/collection")[0] == 401
    status, content = server.get("/api/v1/collection", TOKEN)
    assert (status, json.loads(content)["changes"]) == (200, True)
    assert b"fastreid_ready 1.0" in server.get("/metrics", TOKEN)[1]
    body = make_body(folder / "drawings/D1/4.png")
    connection = server.start_search(body, TOKEN)
    connection.send(body)
    status, answer = read_answer(connection)
    assert (status, answer["total"], answer["results"][0]["score"]) == (200, 6, 1.0)
    assert answer["results"][0]["path"] == "drawings/D1/4.png"
    assert server.get("/")[1].startswith(b"<!doctype html>")
    code, _, errors = run_here("serve", "c", "--port", server.port, folder=folder)
    assert (code, len(errors.splitlines())) == (3, 1)
    assert f"cannot listen on 127.0.0.1, port {server.port} (Address already in use); choose another" in errors
    slow = server.start_search(body, TOKEN)
    slow.send(body[:100])
    time.sleep(0.1)  # the request is running
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 30
    while is_open(server.port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_open(server.port)
    assert server.process.poll() is None
    slow.send(body[100:])
    status, late = read_answer(slow)
    assert (status, late["results"]) == (200, answer["results"])
    output, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, errors
    entries = [json.loads(line) for line in output.splitlines()]
    assert [entry["status"] for entry in entries if entry["route"] == "/api/v1/search"] == [200, 200]
    assert "q.png" not in output
    assert TOKEN not in output + errors
    assert "Traceback" not in errors


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_model_that_cannot_be_loaded_ends_the_server(folder):
    weights = next((folder / "model").glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    try:
        code, _, errors = run_here("serve", "c", "--port", 0, folder=folder)
    finally:
        weights.write_bytes(content)
    assert code in (2, 6), errors
    assert [line for line in errors.splitlines() if "http://" not in line] == [errors.splitlines()[-1]]
    assert "model.safetensors: cannot be read" in errors
