"""Downloads of files whose sha256 is known in advance."""

import hashlib
import importlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError, WeightsError
from fastreid.utils.files import atomic_write, compute_sha256

FULL_SHA256 = re.compile(r"[0-9a-f]{64}")
DRIVE_HOSTS = ("drive.google.com", "docs.google.com")
TIMEOUT_S = 60  # without receiving data
MAX_BYTES = 2 << 30  # protects the disk from an endless response


def download_file(url: str, path: Path, *, sha256: str, plain_http_hosts: Collection[str] = ()) -> Path:
    """Download a file to `path`, unless it exists there with the right digest.

    Args:
        url: https URL, or a Google Drive link (uses gdown).
        path: destination; created only once the download is complete and verified.
        sha256: all 64 digits.
        plain_http_hosts: hosts for which unencrypted http is allowed, for local tests.

    Returns:
        `path`.

    Raises:
        InputError: the url is not https, or the digest is not 64 hexadecimal digits.
        EnvironmentSetupError: the URL is a Drive link and gdown is not installed.
        StorageError: a network or disk error occurred.
        WeightsError: the downloaded file has another digest; it is deleted.
    """
    if not FULL_SHA256.fullmatch(sha256):
        raise InputError(f"{url}: a download needs all 64 digits of the sha256, not '{sha256}'")
    _check_scheme(url, plain_http_hosts)
    if path.is_file() and compute_sha256(path) == sha256:
        return path
    with atomic_write(path) as file:
        writer = _HashingWriter(file)
        try:
            _download(url, writer, plain_http_hosts)
        except (OSError, urllib.error.URLError) as error:
            raise StorageError(f"{url}: download failed ({error}); try again, or download it manually") from error
        if writer.digest.hexdigest() != sha256:
            raise WeightsError(
                f"{url}: the downloaded file has sha256 {writer.digest.hexdigest()}, expected {sha256}; "
                "it was modified in transit or at its source, do not use it"
            )
    return path


class _HashingWriter:
    """File wrapper that computes the digest of the written data and limits its size."""

    def __init__(self, file: IO[Any]):
        self._file = file
        self._num_bytes = 0
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self._num_bytes += len(block)
        if self._num_bytes > MAX_BYTES:
            raise OSError(f"more than {MAX_BYTES} bytes")
        self.digest.update(block)
        return self._file.write(block)


class _HttpsOnlyRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, plain_http_hosts: Collection[str]):
        self.plain_http_hosts = plain_http_hosts

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check_scheme(newurl, self.plain_http_hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, target: _HashingWriter, plain_http_hosts: Collection[str]) -> None:
    if urllib.parse.urlsplit(url).hostname in DRIVE_HOSTS:
        _download_from_drive(url, target)
        return
    opener = urllib.request.build_opener(_HttpsOnlyRedirects(plain_http_hosts))
    with opener.open(url, timeout=TIMEOUT_S) as response:
        while block := response.read(1 << 20):
            target.write(block)


def _download_from_drive(url: str, target: _HashingWriter) -> None:
    try:
        gdown = importlib.import_module("gdown")
    except ImportError as error:
        raise EnvironmentSetupError(f"{url}: Drive links need gdown: pip install gdown") from error
    try:
        gdown.download(url, target, quiet=True, use_cookies=False, timeout=TIMEOUT_S)
    except (gdown.exceptions.FileURLRetrievalError, gdown.exceptions.DownloadError) as error:
        raise OSError(str(error).strip().splitlines()[0]) from error


def _check_scheme(url: str, plain_http_hosts: Collection[str]) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in plain_http_hosts):
        raise InputError(f"{url}: only https links are allowed")
