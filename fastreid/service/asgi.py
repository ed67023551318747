"""Types of ASGI, and answers of middleware."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastreid.service.errors import make_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PUBLIC_ROUTES = ("/healthz", "/readyz")  # of probes: neither limited nor protected
API_PREFIX, METRICS_ROUTE = "/api/", "/metrics"


def get_header(scope: Scope, name: str) -> str:
    """Return a header of a request, "" if it is missing; of several, the first."""
    wanted = name.encode("latin-1")
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")


def get_client(scope: Scope) -> str:
    """Return the address of the client."""
    return str(scope["client"][0]) if scope.get("client") else "unknown"


async def send_error(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request whose body is not read with an error, and close the connection."""
    response = make_response(error)
    response.headers["Connection"] = "close"
    await response(scope, receive, send)
