"""Entries of the page cache: decode files, pack and unpack pages, detect damaged rows."""

import functools
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import zstandard

from fastreid.data.io.image import Array, decode_page, open_image
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import split_page_address
from fastreid.utils.processes import map_in_processes
from fastreid.utils.text import escape_unprintable

_MAX_SIDE_PX = 1 << 24
_FILES_PER_TASK = 16
_BLOCK_BYTES = 1 << 20

FileState = tuple[int, int, int]  # size in bytes, mtime and ctime in ns


class CachedPage(NamedTuple):
    """A file that was read: its state before reading, the SHA-256 of its page, and the packed page if it is new."""

    path: str
    state: FileState
    digest: bytes
    page: tuple[int, int, bytes] | None


class UnreadableFile(NamedTuple):
    """A file that cannot be read, the reason without its name, and its state if the reason is in its content."""

    path: str
    state: FileState | None
    fault: str


def get_file_state(path: str) -> FileState | None:
    """Return size and times of the file of a path or page address; None if it does not exist."""
    try:
        status = os.stat(split_page_address(path)[0])
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def compute_mark(row: tuple[Any, ...]) -> bytes:
    """Return the checksum of a file's row; it detects damage, even damage that yields another file's row."""
    return hashlib.blake2b(repr(row).encode(), digest_size=8).digest()


def mark_is_valid(row: tuple[Any, ...]) -> bool:
    """Return whether a file's row, whose last element is its mark, is undamaged."""
    return bool(compute_mark(row[:-1]) == row[-1])


def decode_files(
    files: Mapping[str, bytes | None], num_workers: int, longest_px: int, max_pixels: int, *, color: bool = False
) -> Iterator[CachedPage | UnreadableFile]:
    """Decode files in order.

    Args:
        files: path to the SHA-256 of a page that is stored already, or None.
        num_workers: processes that decode; 0 decodes in this one.
        longest_px, max_pixels, color: as for `read_image`.

    Raises:
        EnvironmentSetupError: a process died.
    """
    items = iter(files.items())
    tasks = iter(lambda: list(islice(items, _FILES_PER_TASK)), [])
    work = functools.partial(_decode_task, longest_px=longest_px, max_pixels=max_pixels, color=color)
    for entries in map_in_processes(work, tasks, num_workers=num_workers, preload=__name__, activity="decoding"):
        yield from entries


def _decode_task(task: Sequence[tuple[str, bytes | None]], **options: Any) -> list[CachedPage | UnreadableFile]:
    digests: dict[tuple[int, ...], Any] = {}  # so that a file is read once for its pages
    return [_decode_file(path, known, options, digests) for path, known in task]


def _decode_file(
    path: str, known: bytes | None, options: Mapping[str, Any], digests: dict[tuple[int, ...], Any]
) -> CachedPage | UnreadableFile:
    state: FileState | None = None
    try:
        with open_image(path) as file:
            status = os.fstat(file.fileno())  # before reading, so that a change during it is noticed next time
            key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            if key not in digests:
                digests[key] = _hash_file(file)
                file.seek(0)
            state = key[2:]
            digest = _compute_digest(digests[key], split_page_address(path)[1])
            page = None if digest == known else decode_page(file, path, **options)
    except InputError as error:
        # A lack of memory says nothing about the file.
        is_content_error = not isinstance(error.__cause__, MemoryError)
        fault = str(error).removeprefix(f"{escape_unprintable(path)}: ")
        return UnreadableFile(path, state if is_content_error else None, fault)
    return CachedPage(path, state, digest, None if page is None else _pack_page(digest, page))


def _hash_file(file: BinaryIO) -> "hashlib._Hash":
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest


def _compute_digest(file_digest: "hashlib._Hash", page: int) -> bytes:
    """Return the SHA-256 of a file, or of a file and the number of a later page in it."""
    digest = file_digest.copy()
    if page:
        digest.update(b"#page=%d" % (page + 1))
    return digest.digest()


def _pack_page(digest: bytes, page: Array) -> tuple[int, int, bytes]:
    height, width = page.shape[:2]
    packed = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(digest + page.tobytes())
    return height, width, packed


def unpack_page(
    digest: bytes, height: int, width: int, packed: bytes, *, max_pixels: int, color: bool = False
) -> Array | None:
    """Return the page, uint8 (height, width), or (height, width, 3) with `color`.

    None if any part is damaged or the page has more than `max_pixels`.
    """
    shape = (height, width, 3) if color else (height, width)
    try:
        if not (0 < height < _MAX_SIDE_PX and 0 < width < _MAX_SIDE_PX) or height * width > max_pixels:
            return None
        if zstandard.frame_content_size(packed) != len(digest) + math.prod(shape):
            return None
        content = zstandard.ZstdDecompressor().decompress(packed)
    except (zstandard.ZstdError, TypeError, MemoryError):  # damaged bytes raise any of these
        return None
    if not content.startswith(digest):
        return None
    return np.frombuffer(content, np.uint8, offset=len(digest)).reshape(shape)
