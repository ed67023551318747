"""What each file of a data set is: its header and, where asked for, its page."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.fft import dctn

from fastreid.data.io.image import Header, read_header, read_image
from fastreid.utils.errors import InputError
from fastreid.utils.files import sha256_of
from fastreid.utils.processes import work_through

LONGEST_PX = 512  # of the pages that ink and fingerprints are taken from
NUM_BITS = 256

_SIDE = 64  # px a page is squeezed to for its fingerprint
_PALE = 0.88  # of the level of paper: a line of one pixel is darker even when its page was reduced four times
_TASK = 32  # files a process is given at a time


@dataclass(frozen=True)
class Facts:
    """One file.

    Args:
        num_bytes: its length; 0 where it cannot be told.
        header: None where the file cannot be read.
        fault: why it cannot be read, with its name.
        sha256: of its bytes, where another file is as long; "" elsewhere.
        ink: mean darkness of the page, 0 white to 1 black; None without decoding.
        fingerprint: uint8 (32,), see `fingerprint_of`; None without decoding, and for a page without ink.
    """

    num_bytes: int
    header: Header | None
    fault: str = ""
    sha256: str = ""
    ink: float | None = None
    fingerprint: np.ndarray | None = None


def look_at_all(
    paths: Sequence[str],
    *,
    decode: bool,
    max_pixels: int,
    num_workers: int = 0,
    on_file: Callable[[], object] = lambda: None,
) -> dict[str, Facts]:
    """The facts of each file, in order; a file that cannot be read is no error here.

    Args:
        paths: different files.
        decode: look at the pages too; without, headers alone.
        max_pixels: as for `read_image`.
        num_workers: processes that decode; 0 does it in this one.
        on_file: called after each file.

    Raises:
        EnvironmentSetupError: a decoding process died.
    """
    found: dict[str, Facts] = {}
    tasks = (paths[start : start + _TASK] for start in range(0, len(paths), _TASK))
    work = functools.partial(_look_at_each, decode=decode, max_pixels=max_pixels)
    num_workers = num_workers if decode else 0  # headers take less than starting a process
    for looked_at in work_through(work, tasks, num_workers=num_workers, preload=__name__, doing="decoding"):
        for path, facts in looked_at:
            found[path] = facts
            on_file()
    lengths = Counter(facts.num_bytes for facts in found.values() if facts.header)
    for path, facts in found.items():
        if facts.header and lengths[facts.num_bytes] > 1:
            found[path] = replace(facts, sha256=sha256_of(path))
    return found


def fingerprint_of(page: np.ndarray) -> np.ndarray | None:
    """256 bits that differ little between pages that look alike: uint8 (32,), or None for a page without ink.

    A perceptual hash by the cosine transform (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions,
    2010): the page cut to its ink and squeezed to 64 x 64, the signs of its 255 lowest frequencies about their median.

    Args:
        page: uint8 (H, W), 0 ink to 255 paper.
    """
    ink = page < _PALE * np.median(page)
    if not ink.any():
        return None
    top, bottom = np.flatnonzero(ink.any(axis=1))[[0, -1]]
    left, right = np.flatnonzero(ink.any(axis=0))[[0, -1]]
    cut = Image.fromarray(page[top : bottom + 1, left : right + 1]).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = dctn(np.asarray(cut, np.float32), norm="ortho")[:16, :16].ravel()
    waves[0] = -np.inf  # the mean grey tells nothing of shapes
    return np.packbits(waves > np.median(waves[1:]))


def _look_at_each(task: Sequence[str], *, decode: bool, max_pixels: int) -> list[tuple[str, Facts]]:
    return [(path, _look_at(path, decode=decode, max_pixels=max_pixels)) for path in task]


def _look_at(path: str, *, decode: bool, max_pixels: int) -> Facts:
    try:
        num_bytes = os.stat(path).st_size
        header = read_header(path, max_pixels=max_pixels)
        if not decode:
            return Facts(num_bytes, header)
        page = read_image(path, max_pixels=max_pixels, longest_px=LONGEST_PX)
    except InputError as error:
        return Facts(0, None, fault=str(error))
    except OSError as error:
        return Facts(0, None, fault=f"{path}: cannot be read ({error.strerror or error})")
    return Facts(num_bytes, header, ink=1 - float(page.mean()) / 255, fingerprint=fingerprint_of(page))
