"""A server process of `fastreid serve`, and requests to it."""

import http.client
import json
import re
import time
import urllib.error
import urllib.request

from commands import start

BOUNDARY = "limit"


class ServeProcess:
    """A server on a free port, which has loaded its model."""

    def __init__(self, folder, *options, name="c"):
        self.process = start("serve", name, "--port", 0, *options, folder=folder)
        deadline = time.monotonic() + 120
        while not (match := re.search(r"http://[\d.]+:(\d+)/", self.process.read_errors())):
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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.putrequest("POST", "/api/v1/search")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(len(body)))
        connection.putheader("Authorization", f"Bearer {token}")
        connection.endheaders()
        return connection


def make_body(path, suffix=b""):
    """Return a form with the picture of a file, and bytes behind it that change its digest only."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="pictures"; filename="q.png"\r\n\r\n'
    return head.encode() + path.read_bytes() + suffix + f"\r\n--{BOUNDARY}--\r\n".encode()


def read_answer(connection):
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer
