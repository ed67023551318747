"""Sockets, signals, and connections that send nothing."""

import asyncio
import contextlib
import re
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")

import uvicorn
from certificates import make_certificate
from uvicorn.server import ServerState

import fastreid.index
from fastreid.service import ServiceSettings, server
from fastreid.service.tls import check_certificate
from fastreid.utils.errors import EnvironmentSetupError, InputError


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_signals_stop_the_server_without_an_exception():
    graceful = server.GracefulServer(uvicorn.Config(answer))
    before = signal.getsignal(signal.SIGINT)
    with graceful.capture_signals():
        signal.raise_signal(signal.SIGINT)
        assert (graceful.should_exit, graceful.force_exit) == (True, False)
        signal.raise_signal(signal.SIGTERM)
        assert graceful.force_exit is True
    assert signal.getsignal(signal.SIGINT) is before


def test_addresses():
    with server.listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert server.describe_address(listener, False) == f"http://127.0.0.1:{port}/"
        assert server.describe_address(listener, True) == f"https://127.0.0.1:{port}/"
        with pytest.raises(EnvironmentSetupError, match=rf"port {port} \(Address already in use\)"):
            server.listen("127.0.0.1", port)
    with pytest.raises(EnvironmentSetupError, match=r"cannot listen on 203\.0\.113\.1, port 0"):
        server.listen("203.0.113.1", 0)


def test_connection_without_a_complete_header_is_closed(monkeypatch):
    monkeypatch.setattr(server, "HEADER_S", 0.2)

    async def main():
        config = uvicorn.Config(answer, lifespan="off", log_config=None, access_log=False)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: server.TimedProtocol(config, state, {}), "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        replies = []
        for text in (b"", b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(text)
            start = time.monotonic()
            if text.endswith(b"\r\n\r\n"):
                replies.append(await reader.readuntil(b"\r\n\r\n"))
                await asyncio.sleep(0.3)  # a complete request keeps the connection
                assert not reader.at_eof()
            else:
                assert await asyncio.wait_for(reader.read(), 10) == b""
                assert time.monotonic() - start < 5
            writer.close()
            await writer.wait_closed()
        listener.close()
        assert replies[0].startswith(b"HTTP/1.1 204")

    asyncio.run(main())


def test_later_headers_of_a_connection_have_the_same_limits(monkeypatch):
    monkeypatch.setattr(server, "HEADER_S", 0.2)
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    large = request[:-2] + b"X: " + b"a" * 2 * server.HEADER_BYTES + b"\r\n\r\n"

    async def main():
        config = uvicorn.Config(
            answer,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=server.HEADER_BYTES,
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: server.TimedProtocol(config, state, {}), "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        for num_before in (0, 2):
            for text, status in ((request[:20], b""), (large, b"HTTP/1.1 400"), (request + request, b"HTTP/1.1 204")):
                reader, writer = await asyncio.open_connection(host, port)
                for _ in range(num_before):
                    writer.write(request)
                    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204")
                writer.write(text)
                if status == b"HTTP/1.1 204":  # two requests at once
                    replies = [await reader.readuntil(b"\r\n\r\n") for _ in range(2)]
                    assert all(reply.startswith(status) for reply in replies)
                else:
                    with contextlib.suppress(ConnectionError):  # closed before all of the header is read
                        reply = await asyncio.wait_for(reader.read(), 10)
                        assert reply.startswith(status)
                with contextlib.suppress(ConnectionError):
                    writer.close()
                    await writer.wait_closed()
        listener.close()

    asyncio.run(main())


def test_server_with_a_certificate(collection_folder, tmp_path, monkeypatch):
    certificate, key = make_certificate(tmp_path)
    listeners, servers, listen, make = [], [], server.listen, server.GracefulServer
    monkeypatch.setattr(server, "listen", lambda *address: listeners.append(listen(*address)) or listeners[0])
    monkeypatch.setattr(server, "GracefulServer", lambda config: servers.append(make(config)) or servers[0])
    monkeypatch.setattr(make, "capture_signals", lambda self: contextlib.nullcontext())  # not the main thread
    settings = ServiceSettings(port=0, tls_cert=certificate, tls_key=key)
    collection = fastreid.index.open(collection_folder)
    thread = threading.Thread(target=lambda: server.run_server(collection, settings, has_access_log=False))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not (servers and servers[0].started):
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        address = server.describe_address(listeners[0], True)
        trusted = ssl.create_default_context(cafile=certificate)
        with urllib.request.urlopen(f"{address}healthz", timeout=10, context=trusted) as response:
            assert response.read() == b'{"status":"ok"}'
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            urllib.request.urlopen(f"{address}healthz", timeout=10, context=ssl.create_default_context())
    finally:
        servers[0].stop()
        thread.join()


def test_unusable_certificates(tmp_path):
    certificate, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, "other")
    check_certificate(certificate, key)
    encrypted = tmp_path / "encrypted.key"
    command = ["openssl", "ec", "-in", str(key), "-aes128", "-passout", "pass:x", "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    empty, binary = tmp_path / "empty.key", tmp_path / "binary.crt"
    empty.touch()
    binary.write_bytes(b"\x30\x82\x01")
    for files, message in (
        ((certificate, other), "(key values mismatch)"),
        ((key, key), "no certificate with its unencrypted key"),
        ((certificate, encrypted), "no certificate with its unencrypted key"),
        ((key, key), f"({key} has no certificate)"),
        ((certificate, encrypted), f"({encrypted} is encrypted)"),
        ((certificate, empty), f"({empty} is empty)"),
        ((binary, key), f"({binary} is not in PEM format)"),
        ((certificate, tmp_path / "gone"), "gone: cannot be read (No such file or directory)"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            check_certificate(*files)
    with pytest.raises(InputError, match="--tls-key needs --tls-cert FILE"):
        ServiceSettings(tls_key=key)
