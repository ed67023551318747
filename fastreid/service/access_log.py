"""One line of JSON for each request, and the metrics of requests; errors of the code become the status 500."""

import json
import sys
import time
import traceback
from collections.abc import Callable

from fastreid.index.records import format_now
from fastreid.service.asgi import App, Message, Receive, Scope, Send, get_client, send_error
from fastreid.service.metrics import Metrics
from fastreid.utils.logger import get_logger

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class AccessLog:
    """Writes a line per request: no query string, no name and no content, only the template of the route.

    Args:
        app: the next application.
        metrics: gets counts and times.
        write: called with each line; None: no log.
    """

    def __init__(self, app: App, *, metrics: Metrics, write: Callable[[str], object] | None):
        self.app, self.metrics, self.write = app, metrics, write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        self.metrics.running.inc()
        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:  # a bug: the client gets no details
            get_logger().error(f"a request failed: {''.join(traceback.format_exception(error))}")
            if status:
                raise
            await send_error(error, scope, receive, send_and_note)
        finally:
            self.metrics.running.dec()
            self._record(scope, status or 499, time.perf_counter() - start)  # 499: the client closed the connection

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = str(getattr(scope.get("route"), "path", "none"))
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.request_s.labels(route).observe(seconds)
        if self.write is not None:
            line = {"time": format_now(), "method": method, "route": route, "status": status}
            self.write(json.dumps({**line, "ms": round(seconds * 1000, 1), "client": get_client(scope)}))


def write_line(line: str) -> None:
    """Write a line to stdout; a reader that has gone ends the log, not the service."""
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        get_logger().debug("the access log cannot be written")
