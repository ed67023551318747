"""Fingerprint of the image lists of a run, saved in its checkpoints so that a resume detects changed data.

A list has for each drawing a 64-bit hash of its name (the path in the list, so a data folder can be moved), one of its
id and camera, and the size and modification time of its file; and for the list digests of its files, or of a sample of
a long list. Synthetic drawings have no file; the hash of their address identifies them.

Cost, CPU time of one core: 0.6 s for 350,000 drawings without files, which add 11.2 MB to each checkpoint; 2 ms more
for the `os.stat` of 1,000 local files. The files with a digest, up to 1 GiB of each list, are read once at the start of
a run.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.data.datasets.base import RetrievalData, encode_labels
from fastreid.data.io.image import MAX_PIXELS, read_drawing
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.files import open_regular_file
from fastreid.utils.text import escape_unprintable, format_count

FORMAT = 3  # changes when the same lists get another fingerprint
TRAINING = "the training list"
MAX_COMPARED_FILES = 16384  # a list with more has digests of NUM_SAMPLED_FILES
NUM_SAMPLED_FILES = 256
MAX_COMPARED_BYTES = 4 << 20  # of each file, so that huge scans do not delay the start
MAX_LIST_BYTES = 1 << 30  # of all files of a list
NO_FILE = -1  # size of a synthetic drawing

FileKey = tuple[int, int, int]  # hash of its name in the list, size in bytes, modification time in ns


@dataclass(frozen=True)
class DataFingerprint:
    """Fingerprint of all image lists of a run.

    Args:
        lists: drawings by the name of their list in messages.
        state: `format`, `labels` (a digest of the ids in the order of their labels) and `lists`: for each list `names`,
            `ids`, `sizes` (bytes) and `times` (ns), int64 (N,); `samples`, hexadecimal digests of `sample_rows`.
            `whitening`: sha256 of the whitening file of the tests, "" without one; earlier versions lack it.
        skips_unreadable: whether the run skips training drawings that cannot be read (INPUT.ON_BAD_IMAGE).
        max_pixels: a page with more pixels cannot be read (INPUT.MAX_PIXELS).
        unreadable: files of the training list that the run could not read, which may be repaired.
    """

    lists: Mapping[str, Sequence[Drawing]]
    state: dict[str, Any]
    skips_unreadable: bool = False
    max_pixels: int = MAX_PIXELS
    unreadable: frozenset[FileKey] = frozenset()

    def file_key(self, row: int) -> FileKey:
        """Return what identifies the content of a file of the training list."""
        return file_keys(self.state["lists"][TRAINING], [row])[0]

    def is_current(self, row: int) -> bool:
        """Return whether a file of the training list still has the size and modification time of the fingerprint."""
        try:
            status = os.stat(self.lists[TRAINING][row].file)
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == self.file_key(row)[1:]


def compute_fingerprint(
    training: Sequence[Drawing],
    tests: Mapping[str, RetrievalData],
    *,
    skips_unreadable: bool = False,
    max_pixels: int = MAX_PIXELS,
    unreadable: frozenset[FileKey] = frozenset(),
    whitening: str = "",
) -> DataFingerprint:
    """Return the fingerprint of the training list and of the queries and gallery of each test set.

    Args:
        training: the training list.
        tests: test sets by name.
        skips_unreadable, max_pixels, unreadable, whitening: see `DataFingerprint`.

    Raises:
        InputError: a file no longer exists.
    """
    lists = {TRAINING: training}
    for name, data in tests.items():
        lists |= {f"the queries of {name}": data.queries, f"the gallery of {name}": data.gallery}
    labels = hashlib.sha256(json.dumps(encode_labels(training)[1]).encode()).hexdigest()
    states = {name: _compute_list_state(drawings) for name, drawings in lists.items()}
    state = {"format": FORMAT, "labels": labels, "lists": states, "whitening": whitening}
    return DataFingerprint(lists, state, skips_unreadable, max_pixels, unreadable)


def get_classes(state: Any) -> dict[str, Any]:
    """Return the part of a fingerprint that identifies the classes of the training list, in their order.

    Args:
        state: the fingerprint in a file of weights.

    Returns:
        A small dict that can be saved with other weights in place of the fingerprint; {} if the state has another form.
    """
    parts = {key: state.get(key) for key in ("format", "labels")} if isinstance(state, Mapping) else {}
    return parts if isinstance(parts.get("labels"), str) else {}


def describe_change(
    before: Mapping[str, Any],
    now: DataFingerprint,
    *,
    first: str = "then",
    second: str = "now",
    is_ignored: Callable[[str, int], bool] = lambda name, row: False,
) -> str:
    """Return what differs between two fingerprints, such as "the training list changed: ..."; "" if they agree.

    Modification times may differ, and so may the test sets that only one of them has.

    Args:
        before: state of the other fingerprint.
        now: the current one.
        first: where or when `before` was computed, for the message.
        second: the same for `now`.
        is_ignored: whether the file of a row, in the list of this name, may differ.
    """
    changes = []
    for name, state in now.state["lists"].items():
        other = before["lists"].get(name)
        if other is None:
            continue
        drawings, is_skipped = now.lists[name], functools.partial(is_ignored, name)
        change = _describe_order_change(other, state, drawings, (first, second))
        change = change or _describe_file_change(other, state, drawings, is_skipped)
        if change:
            changes.append(f"{name} changed: {change}")
    if not changes and before["labels"] != now.state["labels"]:
        changes.append("the labels of the ids changed")
    more = f" (and {format_count(len(changes) - 1, 'more list')} changed)" if len(changes) > 1 else ""
    return f"{changes[0]}{more}" if changes else ""


def _compute_list_state(drawings: Sequence[Drawing]) -> dict[str, Any]:
    sizes, times = np.full(len(drawings), NO_FILE, np.int64), np.zeros(len(drawings), np.int64)
    for row, drawing in enumerate(drawings):
        if not drawing.is_synthetic:
            sizes[row], times[row] = _stat_file(drawing)
    return {
        "names": _hash_texts(drawing.path if drawing.is_synthetic else drawing.name for drawing in drawings),
        "ids": _hash_texts(f"{drawing.camera} {drawing.patent}" for drawing in drawings),
        "sizes": torch.from_numpy(sizes),
        "times": torch.from_numpy(times),
        "samples": [_hash_file(drawings[row], num_compared_bytes(len(drawings))) for row in sample_rows(len(drawings))],
    }


def file_keys(state: Mapping[str, Any], rows: Sequence[int]) -> list[FileKey]:
    """Return what identifies the content of the files of rows; `state` is that of their list."""
    names, sizes, times = (state[key][list(rows)].tolist() for key in ("names", "sizes", "times"))
    return list(zip(names, sizes, times))


def _hash_texts(texts: Iterable[str]) -> Tensor:
    """Return a 64-bit hash of each text, int64 (N,)."""
    digests = b"".join(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest() for text in texts
    )
    return torch.from_numpy(np.frombuffer(digests, "<i8").astype(np.int64))


def _stat_file(drawing: Drawing) -> tuple[int, int]:
    try:
        status = os.stat(drawing.file)
    except OSError as error:
        raise InputError(f"{drawing.source}: {drawing.path} no longer exists ({error.strerror}); update the list")
    return status.st_size, status.st_mtime_ns


def sample_rows(num: int) -> list[int]:
    """Return the rows with a digest in a list of `num` drawings: all, or evenly spaced ones of a long list."""
    num_rows = num if num <= MAX_COMPARED_FILES else NUM_SAMPLED_FILES
    rows: list[int] = np.linspace(0, num - 1, num_rows).round().astype(int).tolist()
    return rows


def num_compared_bytes(num: int) -> int:
    """Return how many bytes at the start of each file have a digest in a list of `num` drawings."""
    return min(MAX_COMPARED_BYTES, MAX_LIST_BYTES // max(1, len(sample_rows(num))))


def _hash_file(drawing: Drawing, max_bytes: int) -> str:
    """Return a digest of the start of a file; "" if it has none or is unreadable, which INPUT.ON_BAD_IMAGE handles."""
    if drawing.is_synthetic:
        return ""
    try:
        with open(drawing.file, "rb", opener=open_regular_file) as file:
            return hashlib.blake2b(file.read(max_bytes), digest_size=8).hexdigest()
    except OSError:
        return ""


def _describe_order_change(
    before: Mapping[str, Any], now: Mapping[str, Any], drawings: Sequence[Drawing], moments: tuple[str, str]
) -> str:
    old, new = (state["names"].numpy() for state in (before, now))
    if len(old) != len(new):
        numbers = f"{len(old)} drawings {moments[0]}, {len(new)} {moments[1]}"
        shared = min(len(old), len(new))
        differ = old[:shared] != new[:shared]
        if not differ.any():
            return f"{numbers}; the first {shared} are the same"
        return f"{numbers}; {_describe_other_names(old, new, drawings, moments[0]) or _format_first(differ, drawings)}"
    if (old != new).any():
        others = _describe_other_names(old, new, drawings, moments[0])
        return others or f"the same drawings in another order; {_format_first(old != new, drawings)}"
    differ = before["ids"].numpy() != now["ids"].numpy()
    if differ.any():
        what = f"{differ.sum()} of {len(differ)} drawings have another id or camera"
        return f"{what}; {_format_first(differ, drawings)}"
    return ""


def _describe_other_names(
    old: NDArray[np.int64], new: NDArray[np.int64], drawings: Sequence[Drawing], moment: str
) -> str:
    """Return which drawings only one of two lists has; "" if there are none. Only hashes of old names are known."""
    missing, added = ~np.isin(old, new), ~np.isin(new, old)
    parts = []
    if missing.any():
        number = f"number {int(missing.argmax()) + 1} {moment}"
        num = int(missing.sum())
        parts.append(f"{num} drawings are missing, first {number}" if num > 1 else f"1 drawing is missing, {number}")
    if added.any():
        name = escape_unprintable(drawings[int(added.argmax())].name)
        num = int(added.sum())
        parts.append(f"{num} drawings are new, first {name}" if num > 1 else f"1 drawing is new, {name}")
    return "; ".join(parts)


def _describe_file_change(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    drawings: Sequence[Drawing],
    is_ignored: Callable[[int], bool],
) -> str:
    """Return how the files of equal lists differ, without those that are ignored."""
    differ = before["sizes"].numpy() != now["sizes"].numpy()
    if _remove_ignored(differ, range(len(drawings)), is_ignored):
        return f"{differ.sum()} of {len(differ)} files have another size; {_format_first(differ, drawings)}"
    sampled = sample_rows(len(drawings))
    differ = np.array([one != other for one, other in zip(before["samples"], now["samples"])])
    if _remove_ignored(differ, sampled, is_ignored):
        index = int(differ.argmax())
        drawing, num = drawings[sampled[index]], f"{differ.sum()} of {len(differ)} compared files"
        if before["samples"][index] and not now["samples"][index]:
            return f"{num} have another content or cannot be read, first {_describe_read_error(drawing)}"
        return f"{num} have another content, first {escape_unprintable(drawing.name)}"
    return ""


def _describe_read_error(drawing: Drawing) -> str:
    """Return why a file cannot be read; an error of the disk is raised, because it says nothing about the data."""
    try:
        read_drawing(drawing)
    except InputError as error:
        return str(error)
    return escape_unprintable(drawing.name)


def _remove_ignored(differ: NDArray[np.bool_], rows: Sequence[int], is_ignored: Callable[[int], bool]) -> bool:
    """Set the elements of `differ` with ignored rows to False up to the first other one; return whether there is one.

    Args:
        differ: bool (N,), changed in place.
        rows: of the list, one for each element.
        is_ignored: whether a row is ignored.
    """
    for index in np.flatnonzero(differ).tolist():
        if not is_ignored(rows[index]):
            return True
        differ[index] = False
    return False


def _format_first(differ: NDArray[np.bool_], drawings: Sequence[Drawing]) -> str:
    row = int(differ.argmax())
    return f"first difference at drawing {row + 1} ({escape_unprintable(drawings[row].name)})"
