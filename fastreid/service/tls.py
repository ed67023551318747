"""The certificate of the server."""

import ssl
from pathlib import Path

from fastreid.utils.errors import InputError


def check_certificate(certificate: Path, key: Path) -> None:
    """Check that a server can use a certificate.

    Args:
        certificate: PEM file with the certificate and those of intermediate authorities.
        key: PEM file with its private key.

    Raises:
        InputError: a file cannot be read, has no certificate or key, or they do not belong together.
    """
    contents: list[bytes] = []
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise InputError(f"{option} {path}: cannot be read ({error.strerror}); check the path and its permissions")
    try:
        # An empty password, so that OpenSSL does not ask for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = _find_reason(certificate, key, *contents) or (error.reason or "invalid").lower().replace("_", " ")
        message = f"no certificate with its unencrypted key in PEM format ({reason})"
        raise InputError(f"--tls-cert {certificate}, --tls-key {key}: {message}")


def _find_reason(certificate: Path, key: Path, *contents: bytes) -> str:
    """Return what is wrong with one of the files, or "" if only OpenSSL knows."""
    for path, content in zip((certificate, key), contents, strict=True):
        if not content.strip():
            return f"{path} is empty"
        if b"-----BEGIN " not in content:
            return f"{path} is not in PEM format"
    if b"CERTIFICATE" not in contents[0]:
        return f"{certificate} has no certificate"
    return f"{key} is encrypted" if b"ENCRYPTED" in contents[1] else ""
