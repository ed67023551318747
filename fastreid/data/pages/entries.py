"""The entries of a cache: what a file holds, packed, marked against damage, and unpacked again."""

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import zstandard

from fastreid.data.image import open_image, page_of
from fastreid.utils.errors import InputError

_LARGEST_SIDE = 1 << 24

State = tuple[int, int, int]  # size in bytes, time of change of the content and of anything, in ns


class Made(NamedTuple):
    """What became of one file: its state when it was read, its sha256, and its page unless that is there already."""

    path: str
    state: State
    digest: bytes
    page: tuple[int, int, bytes] | None


def state_of(path: str) -> State | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def mark(row: tuple) -> bytes:
    """Tells a file's row from one that was damaged, even into that of another file."""
    return hashlib.blake2b(repr(row).encode(), digest_size=8).digest()


def holds(row: tuple) -> bool:
    """Whether a file's row has the mark it was written with."""
    return mark(row[:-1]) == row[-1]


def make_all(
    task: Sequence[tuple[str, bytes | None]], longest_px: int, max_pixels: int
) -> list[tuple[str, Made | str]]:
    return [(path, _make_one(path, known, longest_px=longest_px, max_pixels=max_pixels)) for path, known in task]


def _make_one(path: str, known: bytes | None, *, longest_px: int, max_pixels: int) -> Made | str:
    """What a file holds, or in words why it cannot be told."""
    try:
        with open_image(path) as file:
            status = os.fstat(file.fileno())  # before the reading: what changes during it is noticed next time
            digest = hashlib.sha256(file.read()).digest()
            file.seek(0)
            page = None if digest == known else page_of(file, path, max_pixels=max_pixels, longest_px=longest_px)
    except InputError as error:
        return str(error)
    state = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return Made(path, state, digest, None if page is None else _packed(digest, page))


def _packed(digest: bytes, page: np.ndarray) -> tuple[int, int, bytes]:
    height, width = page.shape
    squeezed = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(digest + page.tobytes())
    return height, width, squeezed


def unpacked(digest: bytes, height: int, width: int, squeezed: bytes) -> np.ndarray | None:
    """The page, uint8 (height, width); None where anything of it is damaged."""
    try:
        if not (0 < height < _LARGEST_SIDE and 0 < width < _LARGEST_SIDE):
            return None
        if zstandard.frame_content_size(squeezed) != len(digest) + height * width:
            return None
        content = zstandard.ZstdDecompressor().decompress(squeezed)
    except (zstandard.ZstdError, TypeError, MemoryError):  # whatever damaged bytes lead to
        return None
    if not content.startswith(digest):
        return None
    return np.frombuffer(content, np.uint8, offset=len(digest)).reshape(height, width)
