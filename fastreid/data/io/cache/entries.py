"""The entries of a cache: what a file holds, packed, marked against damage, and unpacked again."""

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import zstandard

from fastreid.data.io.image import open_image, page_of
from fastreid.data.io.messages import one_line
from fastreid.utils.errors import InputError
from fastreid.utils.processes import work_through

_LARGEST_SIDE = 1 << 24
_TASK = 16  # files a process is given at a time

State = tuple[int, int, int]  # size in bytes, time of change of the content and of anything, in ns


class Made(NamedTuple):
    """What became of one file: its state when it was read, its sha256, and its page unless that is there already."""

    path: str
    state: State
    digest: bytes
    page: tuple[int, int, bytes] | None


class Bad(NamedTuple):
    """A file that cannot be read, and why, without its name; its state where the reason lies in what it holds."""

    path: str
    state: State | None
    fault: str


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


def decoded(
    files: Mapping[str, bytes | None], num_workers: int, longest_px: int, max_pixels: int
) -> Iterator[Made | Bad]:
    """What each file holds or why that cannot be told, in order.

    Args:
        files: path to the sha256 of a page that need not be made again.
        num_workers: processes that decode; 0 decodes in this one.
        longest_px, max_pixels: as for `read_image`.

    Raises:
        EnvironmentSetupError: a process died.
    """
    items = iter(files.items())
    tasks = iter(lambda: list(islice(items, _TASK)), [])
    work = functools.partial(_make_all, longest_px=longest_px, max_pixels=max_pixels)
    for made in work_through(work, tasks, num_workers=num_workers, preload=__name__, doing="decoding"):
        yield from made


def _make_all(task: Sequence[tuple[str, bytes | None]], *, longest_px: int, max_pixels: int) -> list[Made | Bad]:
    return [_make_one(path, known, longest_px=longest_px, max_pixels=max_pixels) for path, known in task]


def _make_one(path: str, known: bytes | None, *, longest_px: int, max_pixels: int) -> Made | Bad:
    """What a file holds, or why that cannot be told."""
    state: State | None = None
    try:
        with open_image(path) as file:
            status = os.fstat(file.fileno())  # before the reading: what changes during it is noticed next time
            digest = hashlib.sha256(file.read()).digest()
            state = status.st_size, status.st_mtime_ns, status.st_ctime_ns
            file.seek(0)
            page = None if digest == known else page_of(file, path, max_pixels=max_pixels, longest_px=longest_px)
    except InputError as error:
        # Memory that was short says nothing of the file.
        lies_in_it = not isinstance(error.__context__, MemoryError)
        return Bad(path, state if lies_in_it else None, str(error).removeprefix(f"{one_line(path)}: "))
    return Made(path, state, digest, None if page is None else _packed(digest, page))


def _packed(digest: bytes, page: np.ndarray) -> tuple[int, int, bytes]:
    height, width = page.shape
    squeezed = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(digest + page.tobytes())
    return height, width, squeezed


def unpacked(digest: bytes, height: int, width: int, squeezed: bytes, *, max_pixels: int) -> np.ndarray | None:
    """The page, uint8 (height, width); None where anything of it is damaged, or it has more than `max_pixels`."""
    try:
        if not (0 < height < _LARGEST_SIDE and 0 < width < _LARGEST_SIDE) or height * width > max_pixels:
            return None
        if zstandard.frame_content_size(squeezed) != len(digest) + height * width:
            return None
        content = zstandard.ZstdDecompressor().decompress(squeezed)
    except (zstandard.ZstdError, TypeError, MemoryError):  # whatever damaged bytes lead to
        return None
    if not content.startswith(digest):
        return None
    return np.frombuffer(content, np.uint8, offset=len(digest)).reshape(height, width)
