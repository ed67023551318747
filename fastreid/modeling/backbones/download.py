"""Downloads of files whose sha256, or the start of it, is known in advance."""

import hashlib
import http.client
import importlib
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError, WeightsError
from fastreid.utils.files import atomic_write, compute_sha256, remove_temporary_files
from fastreid.utils.locks import exclusive_lock
from fastreid.utils.logger import get_logger
from fastreid.utils.progress import show_progress
from fastreid.utils.text import summarize_error

FULL_SHA256 = re.compile(r"[0-9a-f]{64}")
SHA256_START = re.compile(r"[0-9a-f]{8,63}")
LOCK = ".fastreid.lock"  # in the folder of the downloads
DRIVE_HOSTS = ("drive.google.com", "docs.google.com")
TIMEOUT_S = 60  # without receiving data
MAX_BYTES = 2 << 30  # protects the disk from an endless response

_MB = 1_000_000


def download_file(
    url: str, path: Path, *, sha256: str = "", sha256_start: str = "", plain_http_hosts: Collection[str] = ()
) -> Path:
    """Download a file to `path`, unless it exists there with the right digest.

    The proxies of the environment variables `https_proxy`, `http_proxy` and `no_proxy` are used. Of several processes
    that need the file, one downloads it and the others wait. A download that is interrupted starts again.

    Args:
        url: https URL, or a Google Drive link (uses gdown).
        path: destination; created only once the download is complete and verified.
        sha256: all 64 digits; "" if only the first ones are known.
        sha256_start: the first digits, at least 8, if `sha256` is "". They detect damaged and wrong files.
        plain_http_hosts: hosts for which unencrypted http is allowed, for local tests.

    Returns:
        `path`.

    Raises:
        InputError: the url is not https, or a digest has too few or invalid digits.
        EnvironmentSetupError: the URL is a Drive link and gdown is not installed.
        StorageError: a network or disk error occurred.
        WeightsError: the downloaded file has another digest; it is deleted.
    """
    if not (FULL_SHA256.fullmatch(sha256) or (not sha256 and SHA256_START.fullmatch(sha256_start))):
        given = sha256 or sha256_start
        raise InputError(f"{url}: a download needs all 64 digits of the sha256, or at least the first 8, not '{given}'")
    expected = sha256 or sha256_start
    _check_scheme(url, plain_http_hosts)
    if _has_digest(path, expected):
        return path
    with exclusive_lock(path.parent / LOCK, activity="downloading weights", config_key="folder with TORCH_HOME"):
        if _has_digest(path, expected):  # the other process has downloaded it
            return path
        remove_temporary_files(path.parent)  # of a download that was killed
        get_logger().info(f"downloading {url} to {path}")
        with atomic_write(path) as file, show_progress(f"downloading {path.name}", unit="MB") as update:
            writer = _HashingWriter(file, on_write=update)
            try:
                _download(url, writer, plain_http_hosts)
            except (OSError, http.client.HTTPException) as error:
                raise StorageError(
                    f"{url}: download failed ({summarize_error(error)[:200]}); try again, or download it elsewhere and "
                    f"save it as {path}"
                ) from error
            digest = writer.digest.hexdigest()
            if not digest.startswith(expected):
                raise WeightsError(
                    f"{url}: the downloaded file has sha256 {digest}, expected {expected}; "
                    "it was modified in transit or at its source, do not use it"
                )
    return path


def _has_digest(path: Path, expected: str) -> bool:
    return path.is_file() and compute_sha256(path).startswith(expected)


class _HashingWriter:
    """File wrapper that computes the digest of the written data and limits its size.

    Args:
        file: receives the data.
        on_write: called with the MB written and to write; 0: unknown.
    """

    def __init__(self, file: IO[Any], *, on_write: Callable[[int, int], Any]):
        self._file = file
        self._on_write = on_write
        self.num_bytes, self.expected_bytes = 0, 0
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> int:
        self.num_bytes += len(block)
        if self.num_bytes > MAX_BYTES:
            raise OSError(f"more than {MAX_BYTES} bytes")
        self.digest.update(block)
        self._on_write(self.num_bytes // _MB, self.expected_bytes // _MB)
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
        length = response.headers.get("Content-Length")
        target.expected_bytes = int(length or 0)
        while block := response.read(1 << 16):
            target.write(block)
    if length is not None and int(length) != target.num_bytes:
        raise OSError(f"the connection was closed after {target.num_bytes} of {length} bytes")


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
