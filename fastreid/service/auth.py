"""Who may send a request: the names of the server, pages of other sites, and the token."""

import hmac
import re
from collections.abc import Collection

from fastreid.service.asgi import API_PREFIX, METRICS_ROUTE, App, Receive, Scope, Send, get_header, send_error
from fastreid.service.errors import ServiceError
from fastreid.service.settings import parse_address

_SAFE_METHODS = ("GET", "HEAD")
_SCHEME = "bearer "
_HOST = re.compile(r"(\[(?P<address>[0-9a-fA-F:.]+)\]|(?P<name>[\w.-]+))(:[0-9]{1,5})?", re.ASCII)


class HostCheck:
    """Rejects requests to another name of the server, and changes that pages of other sites send.

    A page of another site can let its own name point to this machine. The header `Host` then has that name.

    Args:
        app: the next application.
        names: allowed names; IP addresses are always allowed.
    """

    def __init__(self, app: App, *, names: Collection[str]):
        self.app, self.names = app, {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            host, origin = get_header(scope, "host"), get_header(scope, "origin")
            name = split_port(host).lower()
            if name not in self.names and parse_address(name) is None:
                message = "the header Host is not a name of this server; see --allow-host"
                return await send_error(ServiceError(421, "wrong_host", message), scope, receive, send)
            is_foreign = bool(origin) and origin.partition("://")[2].lower() != host.lower()
            if is_foreign and scope["method"] not in _SAFE_METHODS:
                error = ServiceError(403, "forbidden", "a page of another site cannot send this request")
                return await send_error(error, scope, receive, send)
        await self.app(scope, receive, send)


class TokenCheck:
    """Rejects requests to the API and to the metrics without the token.

    Args:
        app: the next application.
        token: the token; "": all requests pass.
    """

    def __init__(self, app: App, *, token: str):
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.token and needs_token(scope["path"]):
            value = get_header(scope, "authorization")
            given = value[len(_SCHEME) :].strip() if value[: len(_SCHEME)].lower() == _SCHEME else ""
            if not hmac.compare_digest(given.encode("utf-8"), self.token):  # in constant time
                message = "the token is missing or wrong; send it as the header Authorization: Bearer TOKEN"
                return await send_error(ServiceError(401, "unauthorized", message), scope, receive, send)
        await self.app(scope, receive, send)


def needs_token(path: str) -> bool:
    """Return whether a route is protected: not the page and its files, probes and descriptions."""
    return path.startswith(API_PREFIX) or path.rstrip("/") == METRICS_ROUTE


def split_port(host: str) -> str:
    """Return the name or address in a header `Host`, without port and brackets; "" if it is invalid."""
    match = _HOST.fullmatch(host)
    return (match["address"] or match["name"]) if match else ""
