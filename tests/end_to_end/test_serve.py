"""`fastreid serve` as a process: start, readiness, searches, access log, and a stop that answers running requests."""

import http.client
import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from commands import run_here, start
from index_pages import write_model, write_pages

import fastreid.index

for package in ("lancedb", "fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="the extras `search` and `serve` are not installed")

TOKEN = "0123456789abcdef0123"
BOUNDARY = "limit"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a working folder with a collection of six drawings."""
    folder = tmp_path_factory.mktemp("served")
    write_pages(folder / "drawings", [f"D{number // 3}/{number}.png" for number in range(6)])
    fastreid.index.create(folder / "c", model=write_model(folder / "model")).add([folder / "drawings"])
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


class ServeProcess:
    """A server on a free port, which has loaded its model."""

    def __init__(self, folder, *options):
        self.process = start("serve", "c", "--port", 0, *options, folder=folder)
        deadline = time.monotonic() + 120
        while not (match := re.search(r"http://127\.0\.0\.1:(\d+)/", self.process.read_errors())):
            self._wait(deadline)
        self.port = int(match[1])
        while self.get("/readyz")[0] != 200:
            self._wait(deadline)

    def _wait(self, deadline):
        assert self.process.poll() is None, self.process.communicate()
        assert time.monotonic() < deadline, self.process.read_errors()
        time.sleep(0.02)

    def get(self, path, token=""):
        """Return the status and the content of a route."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def start_search(self, body, token):
        """Send the header of a search and return the connection, to which the body can be sent in parts."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest("POST", "/api/v1/search")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Authorization", f"Bearer {token}")
        connection.endheaders()
        return connection


def make_body(path):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="q.png"\r\n\r\n'
    return head.encode() + path.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def read_answer(connection):
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


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
    assert answer["results"][0]["path"] == str(folder / "drawings/D1/4.png")
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
