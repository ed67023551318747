"""The connection to a Milvus server: addresses of collections, the token, and errors on one line."""

import contextlib
import importlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError, StorageError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

TOKEN_VARIABLE = "FASTREID_MILVUS_TOKEN"
CALL_S = 120.0  # longest time of one call, with its retries
_CONNECT_S = 10.0
# pymilvus sends a ping every 10 s, but servers with the defaults of gRPC close the connection after three within 5 min.
_GRPC_OPTIONS = {"grpc.keepalive_time_ms": 300_000}
_PORTS = {"http": 19530, "https": 443}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # Milvus allows 255; some names get a suffix
_EXAMPLE = "http://localhost:19530/patents"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class MilvusAddress:
    """Address of a collection on a server.

    Args:
        server: with scheme and port.
        database: "": the default one.
        collection: name of the collection.
        is_exposed: whether a token would be sent without encryption to another machine.
    """

    server: str
    database: str
    collection: str
    is_exposed: bool = False

    def __str__(self) -> str:
        return "/".join(part for part in (self.server, self.database, self.collection) if part)


def is_address(text: str) -> bool:
    """Return whether a text is an address and not a path."""
    return "://" in text


def parse_address(text: str) -> MilvusAddress:
    """Return the parts of an address such as http://localhost:19530/patents or https://HOST/DATABASE/COLLECTION.

    Raises:
        InputError: the address is invalid; the message has no password.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InputError(f"the address of a collection is invalid (its host or port); write {_EXAMPLE}")
    if parts.username is not None or parts.password is not None:
        raise InputError(f"an address must not contain a user or password; set the variable {TOKEN_VARIABLE}")
    names = [name for name in parts.path.split("/") if name]
    if parts.scheme not in _PORTS:
        raise InputError(f"{text}: the scheme {parts.scheme!r} is unknown; a server is http:// or https://")
    if not host or not 1 <= len(names) <= 2 or parts.query or parts.fragment:
        raise InputError(f"{text}: is no address of a collection; write {_EXAMPLE}, or HOST/DATABASE/COLLECTION")
    for name in names:
        if not _NAME.fullmatch(name):
            raise InputError(f"{text}: the name {name!r} is invalid; use letters, digits and _, at most 200 in all")
    shown = f"[{host}]" if ":" in host else host
    server = f"{parts.scheme}://{shown}:{port or _PORTS[parts.scheme]}"
    return MilvusAddress(server, "/".join(names[:-1]), names[-1], parts.scheme == "http" and host not in _LOOPBACK)


def import_pymilvus() -> ModuleType:
    """Import the client.

    Raises:
        EnvironmentSetupError: it is not installed.
    """
    try:
        module = importlib.import_module("pymilvus")
    except ImportError as error:
        message = "collections on a Milvus server need pymilvus, the extra `milvus`: pip install pymilvus"
        raise EnvironmentSetupError(message) from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback for each error that it raises
    return module


def connect(address: MilvusAddress) -> Any:
    """Return a `MilvusClient` for a server, with the token of the environment.

    Raises:
        EnvironmentSetupError: pymilvus is not installed, or the token is wrong.
        StorageError: the server is not reachable.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if token and address.is_exposed:
        get_logger().warning(f"{address.server}: the token is sent without encryption; use https://")
    module = import_pymilvus()
    with translate_errors(address):
        return module.MilvusClient(
            uri=address.server, token=token, db_name=address.database, timeout=_CONNECT_S, grpc_options=_GRPC_OPTIONS
        )


def read_server_version(client: Any, address: MilvusAddress) -> tuple[int, int]:
    """Return the version of a server, such as (2, 6) of "v2.6.1" and (3, 2) of "milvus_lite-3.2.2"."""
    with translate_errors(address):
        text = str(client.get_server_version(timeout=CALL_S))
    found = re.search(r"([0-9]+)\.([0-9]+)", text)
    if found is None:
        raise StorageError(f"{address.server}: the version {text[:80]!r} of the server is unknown")
    return int(found[1]), int(found[2])


@contextlib.contextmanager
def translate_errors(address: MilvusAddress) -> Iterator[None]:
    """Turn the errors of the client into one line without secrets."""
    try:
        yield
    except FastreidError:
        raise
    except Exception as error:
        is_milvus = type(error).__module__.split(".")[0] in ("pymilvus", "grpc")
        if not is_milvus:
            raise
        raise _describe_error(address, error) from error


def _describe_error(address: MilvusAddress, error: Exception) -> FastreidError:
    text = summarize_error(Exception(getattr(error, "message", "") or error))
    lower = f"{error} {error.__cause__}".lower()  # the client hides why it cannot connect
    if "unauthenticated" in lower or "auth check failure" in lower:
        return EnvironmentSetupError(
            f"{address.server}: the token is missing or wrong; set the variable {TOKEN_VARIABLE}"
        )
    if ("permission" in lower and "denied" in lower) or "permissiondenied" in lower or "privilege" in lower:
        return EnvironmentSetupError(f"{address}: the token does not allow this; use that of another user")
    if "database" in lower and ("not exist" in lower or "not found" in lower):
        return InputError(f"{address}: the server has no database {address.database or 'default'!r}")
    if any(part in lower for part in ("fail connecting", "unavailable", "deadline", "timeout", "timed out")):
        return StorageError(f"{address.server}: the server is not reachable ({text}); check the address and the server")
    if "not loaded" in lower or "state 'released'" in lower:
        return StorageError(f"{address}: its index is being built; try again in a minute")
    return StorageError(f"{address}: {text}")
