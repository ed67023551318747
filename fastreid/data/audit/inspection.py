"""Inspect the files of a dataset: header, ink and fingerprint of the page."""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.fft import dctn

from fastreid.data.io.image import Array, Header, explain_read_error, read_header, read_image
from fastreid.utils.errors import FastreidError, InputError
from fastreid.utils.files import compute_sha256
from fastreid.utils.page_address import split_page_address
from fastreid.utils.processes import map_in_processes

LONGEST_PX = 512  # of the pages from which ink and fingerprints are computed
NUM_BITS = 256

_SIDE_PX = 64  # of the square to which a page is scaled for its fingerprint
_INK_LEVEL = 0.88  # relative to paper: a line of one pixel is darker even if its page was reduced four times
_FILES_PER_TASK = 32


@dataclass(frozen=True)
class FileInfo:
    """One file.

    Args:
        num_bytes: its size; 0 if unknown.
        header: None if the file cannot be read.
        fault: why it cannot be read, with its name.
        exit_code: of the error that the fault would cause; other than 2 if the machine is the cause, not the file.
        sha256: of its bytes, and the number of a later page, if another file has the same size; otherwise "".
        pixels: digest of the page, reduced to LONGEST_PX; "" without decoding, and for a page without ink.
        ink: mean darkness of the page, 0 white to 1 black; None without decoding.
        median: gray level of the paper, 0 to 255; None without decoding.
        fingerprint: uint8 (32,), see `compute_fingerprint`; None without decoding, and for a page without ink.
    """

    num_bytes: int
    header: Header | None
    fault: str = ""
    exit_code: int = InputError.exit_code
    sha256: str = ""
    pixels: str = ""
    ink: float | None = None
    median: float | None = None
    fingerprint: Array | None = None


def inspect_files(
    paths: Sequence[str],
    *,
    decode: bool,
    max_pixels: int,
    num_workers: int = 0,
    on_progress: Callable[[int, int], object] = lambda num_done, num: None,
) -> dict[str, FileInfo]:
    """Inspect files in order; an unreadable file is not an error.

    Args:
        paths: distinct files.
        decode: decode the pages too; otherwise read headers only.
        max_pixels: as for `read_image`.
        num_workers: processes that decode; 0 decodes in this one.
        on_progress: called with the number of files that were read, and that of all.

    Raises:
        EnvironmentSetupError: a decoding process died.
    """
    files: dict[str, FileInfo] = {}
    tasks = (paths[start : start + _FILES_PER_TASK] for start in range(0, len(paths), _FILES_PER_TASK))
    work = functools.partial(_inspect_task, decode=decode, max_pixels=max_pixels)
    num_workers = num_workers if decode else 0  # reading headers is faster than starting a process
    for inspected in map_in_processes(work, tasks, num_workers=num_workers, preload=__name__, activity="decoding"):
        for path, file in inspected:
            files[path] = file
            on_progress(len(files), len(paths))
    sizes = Counter(file.num_bytes for file in files.values() if file.header)
    for path, file in files.items():
        if file.header and sizes[file.num_bytes] > 1:
            name, page = split_page_address(path)
            try:
                files[path] = replace(file, sha256=f"{compute_sha256(name)}{f' page {page + 1}' if page else ''}")
            except OSError as error:
                files[path] = _describe_fault(explain_read_error(path, error))
    return files


def compute_fingerprint(page: Array) -> Array | None:
    """Return 256 bits that differ little between similar pages, uint8 (32,); None for a page without ink.

    A perceptual hash by the cosine transform: the page is cropped to its ink and scaled to 64 x 64; the bits are the
    signs of its 255 lowest frequencies relative to their median. Source: Zauner, Implementation and Benchmarking of
    Perceptual Image Hash Functions, 2010.

    Args:
        page: uint8 (H, W), 0 ink to 255 paper.
    """
    ink = page < _INK_LEVEL * np.median(page)
    if not ink.any():
        return None
    top, bottom = np.flatnonzero(ink.any(axis=1))[[0, -1]]
    left, right = np.flatnonzero(ink.any(axis=0))[[0, -1]]
    cropped = Image.fromarray(page[top : bottom + 1, left : right + 1])
    scaled = cropped.resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    frequencies = dctn(np.asarray(scaled, np.float32), norm="ortho")[:16, :16].ravel()
    frequencies[0] = -np.inf  # the mean gray level does not depend on shapes
    return np.packbits(frequencies > np.median(frequencies[1:]))


def _inspect_task(task: Sequence[str], *, decode: bool, max_pixels: int) -> list[tuple[str, FileInfo]]:
    return [(path, _inspect_file(path, decode=decode, max_pixels=max_pixels)) for path in task]


def _inspect_file(path: str, *, decode: bool, max_pixels: int) -> FileInfo:
    try:
        num_bytes = os.stat(split_page_address(path)[0]).st_size
        header = read_header(path, max_pixels=max_pixels)
        if not decode:
            return FileInfo(num_bytes, header)
        page = read_image(path, max_pixels=max_pixels, longest_px=LONGEST_PX)
    except FastreidError as error:  # also a disk that cannot be read, and a PDF without pypdfium2
        return _describe_fault(error)
    except OSError as error:
        return _describe_fault(explain_read_error(path, error))
    ink, median = 1 - float(page.mean()) / 255, float(np.median(page))
    fingerprint = compute_fingerprint(page)
    pixels = ""
    if fingerprint is not None:
        pixels = hashlib.blake2b(page.tobytes(), digest_size=16, salt=str(page.shape).encode()[:16]).hexdigest()
    return FileInfo(num_bytes, header, pixels=pixels, ink=ink, median=median, fingerprint=fingerprint)


def _describe_fault(error: FastreidError) -> FileInfo:
    return FileInfo(0, None, fault=str(error), exit_code=error.exit_code)
