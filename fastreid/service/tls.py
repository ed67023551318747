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
    for option, path in (("--tls-cert", certificate), ("--tls-key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise InputError(f"{option} {path}: cannot be read ({error.strerror}); check the path and its permissions")
    try:
        # An empty password, so that OpenSSL does not ask for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        reason = (error.reason or "invalid").lower().replace("_", " ")
        message = f"no certificate with its unencrypted key in PEM format ({reason})"
        raise InputError(f"--tls-cert {certificate}, --tls-key {key}: {message}")
