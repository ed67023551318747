"""Compare the image lists and files of a resumed run with those of its checkpoint.

A training file that the run could not read has no part in its results, so it may be repaired. A file that the run has
read may become unreadable, if the run skips those; then only its earlier content is accepted again.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from fastreid.data.io.image import read_drawing
from fastreid.engine.resume.data_fingerprint import (
    NO_FILE,
    TRAINING,
    DataFingerprint,
    describe_change,
    file_keys,
    num_compared_bytes,
    sample_rows,
)
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.text import escape_unprintable


def describe_change_since(before: Mapping[str, Any], now: DataFingerprint) -> str:
    """Return `describe_change`, without unreadable files that were repaired, and files that are unreadable and skipped.

    Args:
        before: state of the fingerprint in the checkpoint.
        now: the current fingerprint.
    """
    repaired = set(find_repaired(before, now))

    def is_ignored(name: str, row: int) -> bool:
        if name != TRAINING:
            return False
        drawing = now.lists[TRAINING][row]
        return row in repaired or (now.skips_unreadable and _is_unreadable(drawing, max_pixels=now.max_pixels))

    return describe_change(before, now, is_ignored=is_ignored)


def find_repaired(before: Mapping[str, Any], now: DataFingerprint) -> list[int]:
    """Return the rows of training files that the run could not read and that changed since; [] if the lists differ."""
    old, new = before["lists"].get(TRAINING), now.state["lists"][TRAINING]
    if not now.unreadable or old is None or not torch.equal(old["names"], new["names"]):
        return []
    differ = (old["sizes"] != new["sizes"]) | (old["times"] != new["times"])
    rows: list[int] = torch.nonzero(differ).flatten().tolist()
    return [row for row, key in zip(rows, file_keys(old, rows)) if key in now.unreadable]


def merge_fingerprints(before: Mapping[str, Any], now: DataFingerprint) -> dict[str, Any]:
    """Return the state of the fingerprint for the next checkpoints, if `describe_change_since` returns "".

    A changed training file that is unreadable now keeps the values of the checkpoint, so that no third content of it
    is accepted as a repair.
    """
    kept = [
        row
        for row in _find_changed_files(before, now)
        if _is_unreadable(now.lists[TRAINING][row], max_pixels=now.max_pixels)
    ]
    if not kept:
        return now.state
    old, new = before["lists"][TRAINING], dict(now.state["lists"][TRAINING])
    for key in ("sizes", "times"):
        new[key] = new[key].clone()
        new[key][kept] = old[key][kept]
    samples = zip(sample_rows(len(new["sizes"])), old["samples"], new["samples"])
    new["samples"] = [first if row in kept else second for row, first, second in samples]
    return now.state | {"lists": now.state["lists"] | {TRAINING: new}}


def describe_changed_times(before: Mapping[str, Any], now: DataFingerprint) -> tuple[list[str], list[str]]:
    """Describe the files with other modification times in lists for which `describe_change_since` returns "".

    Returns:
        One line for each list whose files with other times were all compared; one for each list with others, whose
        content may have changed.
    """
    compared, unknown = [], []
    for name, state in now.state["lists"].items():
        times = before["lists"].get(name, state)["times"].numpy()
        differ = times != state["times"].numpy()
        if name == TRAINING:
            differ[[*_find_changed_files(before, now), *find_repaired(before, now)]] = False
        rows, sizes, drawings = sample_rows(len(differ)), state["sizes"].numpy(), now.lists[name]
        is_compared = np.zeros(len(differ), np.bool_)
        is_compared[rows] = [digest != "" for digest in state["samples"]]
        is_compared &= sizes <= num_compared_bytes(len(sizes))
        num_unknown = int((differ & ~is_compared).sum())
        if num_unknown:
            first = escape_unprintable(drawings[int((differ & ~is_compared).argmax())].name)
            others = "others have new modification times and were"
            if num_unknown == 1:
                others = "other has a new modification time and was"
            unknown.append(
                f"{name}: {is_compared.sum()} of {(sizes != NO_FILE).sum()} files compared, which are the same; "
                f"{num_unknown} {others} not compared, first {first}"
            )
        elif differ.any():
            num = f"{differ.sum()} of {(sizes != NO_FILE).sum()}"
            compared.append(f"{name}: {num} files have new modification times and the same content")
    return compared, unknown


def _find_changed_files(before: Mapping[str, Any], now: DataFingerprint) -> list[int]:
    """Return the rows of training files with another size or another digest, for equal lists."""
    old, new = before["lists"].get(TRAINING), now.state["lists"][TRAINING]
    if old is None:
        return []
    differ = (old["sizes"] != new["sizes"]).numpy()
    samples = zip(sample_rows(len(differ)), old["samples"], new["samples"])
    differ[[row for row, first, second in samples if first != second]] = True
    rows: list[int] = np.flatnonzero(differ).tolist()
    return rows


def _is_unreadable(drawing: Drawing, *, max_pixels: int) -> bool:
    try:
        read_drawing(drawing, max_pixels=max_pixels)
    except InputError:
        return True
    return False
