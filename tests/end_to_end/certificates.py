"""Certificates of 127.0.0.1 for tests."""

import shutil
import subprocess

import pytest


def make_certificate(folder, name="server"):
    """Create a certificate that is signed by itself, and its key; return both paths."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", *curve, "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
