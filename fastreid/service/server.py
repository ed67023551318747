"""Serve a collection until a signal arrives: sockets, time limits of connections, and a graceful stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from fastreid.index import Collection
from fastreid.service.access_log import write_line
from fastreid.service.app import build_app
from fastreid.service.settings import ServiceSettings
from fastreid.service.tls import check_certificate
from fastreid.utils.errors import EnvironmentSetupError
from fastreid.utils.logger import get_logger

HEADER_S = 10.0  # until the header of a request has arrived
KEEP_ALIVE_S = 10
HEADER_BYTES = 65_536
_PART_BYTES = 4096  # of a header that are parsed at once
_MAX_CONNECTIONS = 1000
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class TimedProtocol(H11Protocol):
    """Closes a connection that sends no complete header in time, of the first or a later request.

    A header is parsed in small parts, because h11 limits only the size of an incomplete one.
    """

    _timer: asyncio.TimerHandle | None = None  # runs while a header is incomplete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base class
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_S, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and self._is_between_requests():
            before = self.cycle
            super().data_received(data[:_PART_BYTES])
            data = data[_PART_BYTES:]
            if self.cycle is not before:
                self._stop_timer()
            elif self._timer is None and not self.transport.is_closing():
                self._timer = self.loop.call_later(HEADER_S, self._close)
        if data and not self.transport.is_closing():
            super().data_received(data)

    def _is_between_requests(self) -> bool:
        """Return whether the next bytes are those of a header."""
        cycle: RequestResponseCycle | None = self.cycle
        return not self.transport.is_closing() and (cycle is None or cycle.response_complete)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class GracefulServer(uvicorn.Server):
    """A server that a first signal stops after the running requests, with a normal return; a second one at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and Ctrl-C in this block; they do not reach the program afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop after the running requests; at the second signal without waiting for them."""
        self.force_exit = self.should_exit
        self.should_exit = True

    def stop(self) -> None:
        """Stop after the running requests."""
        self.should_exit = True


def run_server(collection: Collection, settings: ServiceSettings, *, has_access_log: bool = True) -> None:
    """Serve a collection until SIGTERM or Ctrl-C.

    Args:
        collection: the collection.
        settings: access and limits.
        has_access_log: print a line of JSON per request.

    Raises:
        InputError: the certificate cannot be used.
        EnvironmentSetupError: the address or port cannot be used.
        WeightsError: the model cannot be loaded.
    """
    if settings.tls_cert is not None and settings.tls_key is not None:
        check_certificate(settings.tls_cert, settings.tls_key)
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        servers: list[GracefulServer] = []
        app = build_app(
            collection,
            settings,
            log=write_line if has_access_log else None,
            on_failure=lambda: servers[0].stop(),
        )
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_keep_alive=KEEP_ALIVE_S,
            h11_max_incomplete_event_size=HEADER_BYTES,
            timeout_graceful_shutdown=round(settings.request_s) + 1,
            limit_concurrency=_MAX_CONNECTIONS,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        servers.append(GracefulServer(config))
        for name in ("uvicorn.error", "python_multipart"):  # they warn about invalid requests, which clients cause
            logging.getLogger(name).setLevel(logging.ERROR)
        get_logger().info(f"serving {collection.uri} at {describe_address(listener, settings.tls_cert is not None)}")
        servers[0].run(sockets=[listener])
    if app.state.service.failure is not None:
        raise app.state.service.failure


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        EnvironmentSetupError: the address or port cannot be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=256)
    except OSError as error:
        number = error.errno or 0  # negative: of the lookup of the name
        reason = os.strerror(number) if number > 0 else str(error)
        raise EnvironmentSetupError(f"cannot listen on {host}, port {port} ({reason}); choose another --host or --port")
    listener.set_inheritable(False)
    return listener


def describe_address(listener: socket.socket, is_encrypted: bool) -> str:
    """Return the address of a socket, such as "http://127.0.0.1:8000/"."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if is_encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"
