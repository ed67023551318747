"""Limits of requests: per client, at the same time, bytes and seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn

from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException

from fastreid.service.asgi import API_PREFIX, App, Message, Receive, Scope, Send, get_client, get_header, send_error
from fastreid.service.errors import ServiceError
from fastreid.service.settings import parse_address

_END_BYTES = 256  # of a body, with its last boundary
_READ_COST = 1 / 20  # of a request that only reads, compared with a search
_MAX_CLIENTS = 10_000
_IPV6_NETWORK_BITS = 64  # which one client usually has


class RateLimit:
    """Limits the requests of each client by a token bucket, which holds the requests of a minute.

    Args:
        app: the next application.
        requests_per_minute: 0: no limit.
        clock: seconds.
    """

    def __init__(self, app: App, *, requests_per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.app, self.rate, self.clock = app, requests_per_minute / 60, clock
        self.capacity = float(requests_per_minute)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # -> (left, time)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.rate and scope["path"].startswith(API_PREFIX):
            wait_s = self.take(get_client(scope), 1.0 if scope["method"] not in ("GET", "HEAD") else _READ_COST)
            if wait_s:
                message = f"more than {self.capacity:.0f} requests per minute; wait {wait_s:.0f} s"
                error = ServiceError(429, "rate_limited", message, retry_after_s=wait_s)
                return await send_error(error, scope, receive, send)
        await self.app(scope, receive, send)

    def take(self, client: str, cost: float) -> float:
        """Count a request and return 0, or return the seconds until the client may send it."""
        key, now = _find_network(client), self.clock()
        left, before = self._clients.pop(key, (self.capacity, now))
        left = min(self.capacity, left + (now - before) * self.rate)
        wait_s = 0.0 if left >= cost else max(1.0, (cost - left) / self.rate)
        self._clients[key] = (left if wait_s else left - cost, now)
        if len(self._clients) > _MAX_CLIENTS:
            self._clients.popitem(last=False)
        return wait_s


class RequestLimits:
    """Limits the number of requests to the API at the same time, their bytes and their time.

    Args:
        app: the next application.
        max_concurrent: requests at the same time.
        max_bytes: of a body.
        request_s: seconds.
    """

    def __init__(self, app: App, *, max_concurrent: int, max_bytes: int, request_s: float):
        self.app, self.max_concurrent, self.max_bytes, self.request_s = app, max_concurrent, max_bytes, request_s
        self._num_running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(API_PREFIX):
            return await self.app(scope, receive, send)
        try:
            body = _Body(scope, receive, self.max_bytes)
            if self._num_running >= self.max_concurrent:
                message = f"more than {self.max_concurrent} requests at the same time; try again"
                raise ServiceError(503, "busy", message, retry_after_s=1)
        except ServiceError as error:
            return await send_error(error, scope, receive, send)
        self._num_running += 1
        try:
            await self._call(scope, body, send)
        finally:
            self._num_running -= 1

    async def _call(self, scope: Scope, body: "_Body", send: Send) -> None:
        has_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_started
            if body.error is None:
                has_started = True
                await send(message)

        try:
            await asyncio.wait_for(self.app(scope, body.receive, send_and_note), self.request_s)
            if body.error is not None:
                await send_error(body.error, scope, body.receive, send)
        except asyncio.TimeoutError:
            if has_started:  # the client reads too slowly; the server closes the incomplete response
                return
            message = f"not finished after {self.request_s:g} s"
            error = (
                ServiceError(503, "timeout", f"{message}; try again, or send fewer pictures", retry_after_s=5)
                if body.is_complete
                else ServiceError(408, "timeout", f"{message}, because the body did not arrive")
            )
            await send_error(error, scope, body.receive, send)


class _Body:
    """The body of a request, which counts its bytes.

    Raises:
        ServiceError: the header Content-Length is invalid or above the limit.
    """

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int):
        self._receive, self._max_bytes = receive, max_bytes
        self._num_bytes = 0
        self.error: ServiceError | None = None  # to answer with
        kind, options = parse_options_header(get_header(scope, "content-type"))
        self._last_boundary = b"--" + options.get(b"boundary", b"") + b"--" if kind == b"multipart/form-data" else b""
        self._end = b""
        stated = get_header(scope, "content-length")
        if stated and not (stated.isascii() and stated.isdigit()):
            raise ServiceError(400, "invalid_input", "the header Content-Length is not a number")
        if stated and (len(stated) > 18 or int(stated) > max_bytes):
            raise self._make_error()
        has_body = int(stated or 0) > 0 or bool(get_header(scope, "transfer-encoding"))
        self.is_complete = not has_body  # a route may answer a request without a body before it calls receive

    async def receive(self) -> Message:
        """Return the next part.

        Raises:
            MultiPartException: there are too many bytes, or a form is cut off; the parser closes its files then.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            part = message.get("body", b"")
            self._num_bytes += len(part)
            if self._num_bytes > self._max_bytes:
                self._fail(self._make_error())
            self._end = (self._end + part[-_END_BYTES:])[-_END_BYTES:]
            self.is_complete = not message.get("more_body", False)
            if self.is_complete and self._last_boundary not in self._end:
                self._fail(ServiceError(400, "invalid_input", "the form is cut off: its last boundary is missing"))
        return message

    def _fail(self, error: ServiceError) -> NoReturn:
        self.error = error
        raise MultiPartException(error.detail)

    def _make_error(self) -> ServiceError:
        message = f"the body has more than {self._max_bytes:,} bytes; send fewer or smaller pictures"
        return ServiceError(413, "too_large", message)


def _find_network(client: str) -> str:
    """Return the key of a client: its address, or its network for IPv6."""
    address = parse_address(client)
    if address is None or address.version == 4:
        return client
    return address.exploded[: _IPV6_NETWORK_BITS // 4 + 3]  # hexadecimal digits and colons
