"""Limits per client, at the same time, of bytes and of seconds."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from index_pages import draw_page
from service_requests import encode, get_error, start_client

from fastreid.service.limits import RateLimit, RequestLimits

SEARCH = "/api/v1/search"


async def no_app(scope, receive, send):
    raise AssertionError("not reached")


def test_rate_limit_refills_over_time():
    now = [0.0]
    limit = RateLimit(no_app, requests_per_minute=60, clock=lambda: now[0])
    assert [limit.take("10.0.0.1", 1.0) for _ in range(60)] == [0.0] * 60
    assert limit.take("10.0.0.1", 1.0) == 1.0
    assert limit.take("10.0.0.2", 1.0) == 0.0
    now[0] = 2.0
    assert [limit.take("10.0.0.1", 1.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    now[0] = 10_000.0
    assert [limit.take("10.0.0.1", 1.0) for _ in range(61)] == [0.0] * 60 + [1.0]
    assert limit.take("2001:db8::1", 60.0) == 0.0
    assert limit.take("2001:db8::2", 60.0) == 60.0  # the same network
    assert limit.take("2001:db8:0:1::1", 60.0) == 0.0


def test_client_with_too_many_requests_waits(collection_folder, picture):
    with start_client(collection_folder, requests_per_minute=2) as client:
        codes = [client.get("/api/v1/drawings/x").status_code for _ in range(20)]  # cost as much as one search
        assert codes == [404] * 20
        assert client.post(SEARCH, files=[picture.part]).status_code == 200
        response = client.post(SEARCH, files=[picture.part])
        assert "more than 2 requests per minute" in get_error(response, 429, "rate_limited")
        assert 1 <= int(response.headers["retry-after"]) <= 30
        assert client.get("/healthz").status_code == 200


def test_too_many_requests_at_the_same_time(collection_folder, picture):
    with start_client(collection_folder, max_concurrent=1, requests_per_minute=0) as client:
        service = client.app.state.service
        release, entered = threading.Event(), threading.Event()
        embed = service.collection.embedder.embed_prepared

        def wait(pictures):
            entered.set()
            assert release.wait(30)
            return embed(pictures)

        service.collection.embedder.embed_prepared = wait
        with ThreadPoolExecutor(1) as executor:
            first = executor.submit(client.post, SEARCH, files=[picture.part])
            assert entered.wait(30)
            response = client.post(SEARCH, files=[picture.part])
            get_error(response, 503, "busy")
            assert response.headers["retry-after"] == "1"
            assert client.get("/readyz").status_code == 200
            release.set()
            assert first.result().status_code == 200
        assert client.post(SEARCH, files=[picture.part]).status_code == 200


def test_slow_search_is_stopped(collection_folder, picture):
    with start_client(collection_folder, request_s=0.2) as client:
        service, release = client.app.state.service, threading.Event()
        embed = service.collection.embedder.embed_prepared
        service.collection.embedder.embed_prepared = lambda pictures: release.wait(30) and embed(pictures)
        response = client.post(SEARCH, files=[picture.part])
        assert "not finished after 0.2 s" in get_error(response, 503, "timeout")
        release.set()
        service.collection.embedder.embed_prepared = embed
        assert client.post(SEARCH, files=[picture.part]).status_code == 200


def call(app, *, headers=(), parts=(), delay_s=0.0):
    """Send a request to an ASGI application in parts, and return the status and the answer."""
    sent, waiting = [], list(parts)

    async def receive():
        await asyncio.sleep(delay_s)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": SEARCH, "headers": list(headers), "client": ("10.0.0.1", 1)}
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]


async def read_body(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    raise AssertionError("the body is complete")


def test_slow_body_is_stopped():
    app = RequestLimits(read_body, max_concurrent=1, max_bytes=100, request_s=0.1)
    start = time.monotonic()
    status, error = call(app, parts=[b"x"] * 50, delay_s=0.02)
    assert (status, error["code"]) == (408, "timeout")
    assert time.monotonic() - start < 5
    status, _ = call(app, parts=[b"x"] * 50, delay_s=0.02)  # the place is free again
    assert status == 408


def test_client_that_reads_too_slowly_is_left():
    async def send_slowly(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(30)

    sent = []

    async def send(message):
        sent.append(message["type"])

    app = RequestLimits(send_slowly, max_concurrent=1, max_bytes=100, request_s=0.05)
    scope = {"type": "http", "method": "GET", "path": "/api/v1/x", "headers": [], "client": ("10.0.0.1", 1)}
    asyncio.run(app(scope, None, send))
    assert sent == ["http.response.start"]  # the server closes an incomplete response


@pytest.mark.parametrize(
    ("length", "status"), [(b"101", 413), (b"9" * 5000, 413), (b"-1", 400), (b"1e3", 400), (b"\xb2", 400)]
)
def test_length_is_checked_before_the_body_is_read(length, status):
    app = RequestLimits(no_app, max_concurrent=1, max_bytes=100, request_s=1)
    assert call(app, headers=[(b"content-length", length)])[0] == status


def test_large_pictures_and_requests(collection_folder, picture):
    large = encode(draw_page(4, size_px=256)) + bytes(3000)
    limits = {"max_picture_bytes": len(picture.content), "max_request_bytes": 2500}
    with start_client(collection_folder, **limits) as client:
        assert client.post(SEARCH, files=[picture.part]).status_code == 200
        too_large = [("pictures", ("a.png", large[: len(picture.content) + 1]))]
        message = get_error(client.post(SEARCH, files=too_large), 413, "too_large")
        assert message.startswith(f"a.png: {len(picture.content) + 1:,} bytes is more than")
        get_error(client.post(SEARCH, files=[("pictures", ("a.png", large))]), 413, "too_large")
        get_error(client.post(SEARCH, files=[picture.part] * 8), 413, "too_large")
        body = iter([b"--x\r\n", b"y" * 2000, b"z" * 2000])  # without Content-Length
        response = client.post(SEARCH, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
        assert response.status_code in (400, 413)


def test_service_that_still_loads_is_not_ready(collection_folder, picture, monkeypatch):
    from fastapi.testclient import TestClient

    import fastreid.index
    from fastreid.index.embedder import Embedder
    from fastreid.service import ServiceSettings, create_app

    release = threading.Event()
    predictor = Embedder.predictor.func
    monkeypatch.setattr(Embedder, "predictor", property(lambda self: release.wait(30) and predictor(self)))
    app = create_app(fastreid.index.open(collection_folder), ServiceSettings())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for response in (client.get("/readyz"), client.post(SEARCH, files=[picture.part])):
            get_error(response, 503, "not_ready")
            assert response.headers["retry-after"] == "2"
        assert client.get("/healthz").status_code == 200
        assert client.get("/api/v1/collection").json()["drawings"] == 9
        release.set()


def test_pictures_do_not_wait_for_a_slow_pdf(collection_folder, picture, monkeypatch):
    from fastreid.service.pictures import Picture

    release, entered = threading.Event(), threading.Event()
    prepare = Picture.prepare

    def prepare_slowly(self, embedder):
        if self.is_pdf:
            entered.set()
            assert release.wait(30)
        return prepare(self, embedder)

    monkeypatch.setattr(Picture, "prepare", prepare_slowly)
    pdf = [("pictures", ("a.pdf", b"%PDF-1.4 broken"))]
    with start_client(collection_folder) as client, ThreadPoolExecutor(8) as executor:
        slow = [executor.submit(client.post, SEARCH, files=pdf) for _ in range(8)]
        assert entered.wait(30)
        assert client.post(SEARCH, files=[picture.part]).status_code == 200
        release.set()
        for response in slow:
            assert response.result().status_code in (400, 503)  # 503: the package for PDF is not installed


@pytest.mark.parametrize(
    ("headers", "status"),
    [((), 503), (((b"content-length", b"0"),), 503), (((b"content-length", b"5"),), 408)],
)
def test_timeout_without_a_body_is_not_a_missing_body(headers, status):
    async def wait(scope, receive, send):
        await asyncio.sleep(30)

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/v1/collection", "headers": headers}
    limits = RequestLimits(wait, max_concurrent=1, max_bytes=100, request_s=0.02)
    asyncio.run(limits(scope, None, send))
    assert sent[0]["status"] == status
