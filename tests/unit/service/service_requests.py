"""Clients of the service in this process, and pictures to send."""

import contextlib
import io
import time

from PIL import Image


def encode(page, format="PNG"):
    file = io.BytesIO()
    Image.fromarray(page).save(file, format)
    return file.getvalue()


class PictureFile:
    """A picture as a part of a form, with a name."""

    def __init__(self, name, page):
        self.name, self.content = name, encode(page)

    @property
    def part(self):
        return ("pictures", (self.name, self.content, "image/png"))


@contextlib.contextmanager
def start_client(folder, *, log=None, **settings):
    """Serve a collection in this process until the block ends, and yield a client that is ready."""
    from fastapi.testclient import TestClient

    import fastreid.index
    from fastreid.service import ServiceSettings, create_app

    app = create_app(fastreid.index.open(folder), ServiceSettings(**settings), log=log)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        deadline = time.monotonic() + 60
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        yield client


def get_error(response, status, code):
    """Check that a response is an error of the one form, and return its message."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert response.json().keys() == {"error"}
    assert error.keys() == {"code", "message"}
    assert error["code"] == code
    assert error["message"]
    assert error["message"].isprintable()
    assert "Traceback" not in error["message"]
    return error["message"]
