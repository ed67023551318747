"""A local server of weights, and an empty cache folder for downloads."""

import functools
import http.server
import threading
from pathlib import Path
from typing import NamedTuple

import pytest


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.num_requests += 1
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/weights.pth")
            self.end_headers()
        elif self.path.startswith(("/truncated", "/stuck")):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"x" * 60)
            self.wfile.flush()
            if self.path.startswith("/stuck"):
                self.server.released.wait(30)
        else:
            super().do_GET()


class Server(NamedTuple):
    """A folder that is served over http."""

    folder: Path
    url: str
    httpd: http.server.ThreadingHTTPServer


@pytest.fixture
def server(tmp_path):
    """Serve a folder over http; return the folder and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
    httpd.num_requests, httpd.released = 0, threading.Event()
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield Server(folder, f"http://127.0.0.1:{httpd.server_port}", httpd)
    httpd.released.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Return the folder of downloads, which does not exist yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "torch" / "checkpoints"
