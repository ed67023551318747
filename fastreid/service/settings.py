"""Settings of the service: access, limits and changes."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from fastreid.utils.errors import EnvironmentSetupError, InputError

MIN_TOKEN_CHARACTERS = 16
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class ServiceSettings:
    """How a collection is served.

    Args:
        host: address to listen on.
        port: port to listen on; 0: a free one.
        token: what clients must send as "Authorization: Bearer TOKEN"; "": nothing.
        needs_no_token: allow an address that other machines can reach without a token.
        allowed_hosts: names of the server in the header `Host`, in addition to those of this machine and IP addresses.
        tls_cert: PEM file with the certificate of the server; None: HTTP without TLS.
        tls_key: PEM file with its private key.
        trusted_proxies: IP addresses of proxies, whose header X-Forwarded-For has the address of the client.
        uploads: folder of added drawings; None: the collection cannot be changed.
        max_pictures: pictures and ids of a query.
        max_picture_bytes: of one uploaded file.
        max_request_bytes: of the body of a request.
        max_results: largest k.
        max_concurrent: requests that are answered at the same time; others get the status 503.
        requests_per_minute: of one client; 20 requests that only read count as one; 0: no limit.
        request_s: seconds until an unfinished request is stopped.
        max_batch: pictures that the network gets at once.
        batch_wait_s: seconds that a picture waits for others.

    Raises:
        InputError: a setting is invalid, or an address that other machines can reach has no token.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    needs_no_token: bool = False
    allowed_hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    uploads: Path | None = None
    max_pictures: int = 7
    max_picture_bytes: int = 20_000_000
    max_request_bytes: int = 50_000_000
    max_results: int = 1000
    max_concurrent: int = 64
    requests_per_minute: int = 300
    request_s: float = 30.0
    max_batch: int = 8
    batch_wait_s: float = 0.002

    def __post_init__(self) -> None:
        if self.token and (len(self.token) < MIN_TOKEN_CHARACTERS or not self.token.isascii() or " " in self.token):
            raise InputError(
                f"the token has {len(self.token)} characters; it needs at least {MIN_TOKEN_CHARACTERS} ASCII "
                "characters without spaces, as `openssl rand -hex 32` prints"
            )
        if self.uploads is not None and not self.token:
            raise InputError("--enable-changes needs a token; give --token-file FILE or set FASTREID_TOKEN")
        if not is_loopback(self.host) and not self.token and not self.needs_no_token:
            raise InputError(
                f"--host {self.host} can be reached from other machines; give --token-file FILE or set FASTREID_TOKEN, "
                "or allow everybody to search with --no-token"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("--tls-cert", "--tls-key") if self.tls_cert else ("--tls-key", "--tls-cert")
            raise InputError(f"{given} needs {missing} FILE, the other half of certificate and key")
        for address in self.trusted_proxies:
            if parse_address(address) is None:
                raise InputError(f"--trusted-proxy {address!r} is invalid; it is an IP address such as 10.0.0.1")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address or name."""
    address = parse_address(host)
    return address.is_loopback if address is not None else host.lower() == "localhost"


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an IP address, or None if the text is something else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def read_token(path: Path | None, environment: str) -> str:
    """Return the token of a file, or else of the environment; "": none.

    Raises:
        InputError: the file cannot be read or is empty.
    """
    if path is None:
        return environment.strip()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"--token-file {path}: cannot be read ({reason}); check the path and its permissions")
    if not token:
        raise InputError(f"--token-file {path}: is empty; `openssl rand -hex 32` prints a token")
    return token


def check_packages() -> None:
    """Check that the packages of the service are installed.

    Raises:
        EnvironmentSetupError: one is not.
    """
    try:
        import fastapi
        import prometheus_client
        import python_multipart
        import uvicorn

        _ = fastapi, prometheus_client, python_multipart, uvicorn
    except ImportError as error:
        name = (error.name or "fastapi").replace("_", "-")
        raise EnvironmentSetupError(
            f"fastreid serve needs {name}: pip install fastapi uvicorn python-multipart prometheus-client"
        ) from error
