"""Read many image files once to find those that cannot be read, before a long run needs them."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import PIL

from fastreid.data.io.image import add_source, read_drawing, read_header
from fastreid.data.io.pdf import get_pdf_version
from fastreid.structures import Drawing
from fastreid.utils.errors import FastreidError, InputError
from fastreid.utils.processes import map_in_processes

_FILES_PER_TASK = 32


def find_unreadable(
    drawings: Iterable[Drawing],
    *,
    decode: bool,
    max_pixels: int,
    longest_px: int = 0,
    num_workers: int = 0,
    on_progress: Callable[[int, int], object] = lambda num_done, num: None,
) -> dict[str, str]:
    """Return the path of each unreadable drawing with the reason on one line, which names its list and line.

    Args:
        drawings: from any lists; each file is read once, and synthetic drawings are not.
        decode: decode the pages; otherwise read headers only, in this process, which is faster than starting others.
        max_pixels: as for `read_image`.
        longest_px: as for `read_image`.
        num_workers: processes that decode; 0 decodes in this one.
        on_progress: called with the number of files read so far and the total.

    Raises:
        EnvironmentSetupError: a decoding process died.
        StorageError: a file cannot be read because of an error of its disk.
    """
    selected = select_files(drawings)
    files = iter(selected)
    tasks = iter(lambda: list(islice(files, _FILES_PER_TASK)), [])
    work = functools.partial(_read_task, decode=decode, max_pixels=max_pixels, longest_px=longest_px)
    faults: dict[str, str] = {}
    num_done = 0
    for num, new_faults in map_in_processes(
        work, tasks, num_workers=num_workers if decode else 0, preload=__name__, activity="decoding"
    ):
        faults |= new_faults
        num_done += num
        on_progress(num_done, len(selected))
    return faults


def select_files(drawings: Iterable[Drawing]) -> list[Drawing]:
    """Return one drawing for each file, in order."""
    return list({one.path: one for one in drawings if not one.is_synthetic}.values())


def compute_files_digest(drawings: Iterable[Drawing], *, max_pixels: int) -> str:
    """Return a digest of the path, size and modification time of each file; "" if a file does not exist.

    It differs if the files were read by another version of Pillow or pypdfium2, or with other limits.

    Args:
        drawings: from any lists.
        max_pixels: as for `read_image`.
    """
    digest = hashlib.sha256(repr((PIL.__version__, get_pdf_version(), max_pixels)).encode())
    for one in select_files(drawings):
        try:
            status = os.stat(one.file)
        except OSError:
            return ""
        entry = (os.path.abspath(one.path), status.st_size, status.st_mtime_ns)
        digest.update(repr(entry).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read_task(
    task: Sequence[Drawing], *, decode: bool, max_pixels: int, longest_px: int
) -> tuple[int, dict[str, str]]:
    """Return the number of files and the faults of a task."""
    faults = {}
    for drawing in task:
        try:
            if decode:
                read_drawing(drawing, max_pixels=max_pixels, longest_px=longest_px)
            else:
                _read_header(drawing, max_pixels)
        except InputError as error:
            faults[drawing.path] = str(error)
    return len(task), faults


def _read_header(drawing: Drawing, max_pixels: int) -> None:
    try:
        read_header(drawing.path, max_pixels=max_pixels)
    except FastreidError as error:
        raise type(error)(add_source(drawing, str(error)))
