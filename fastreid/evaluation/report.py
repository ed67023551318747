"""What a test leaves behind: `result.npy`, the same zipped for submission, and a table of the scores."""

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from fastreid.structures import Ranking
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write

RESULT_NAME = "result.npy"
ZIP_NAME = "result.zip"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold; with it the same ranking gives the same bytes


def write_results(ranking: Ranking, folder: str | os.PathLike, *, num_gallery: int) -> None:
    """Write `result.npy` and `result.zip` into a folder, each whole or not at all.

    `result.npy` is int64 (num_query, TOP_K): for each query, in the order of the query list, positions from 0 in the
    database list, nearest first. `result.zip` holds that file alone; equal rankings give equal bytes.

    Args:
        ranking: of the queries in their list's order.
        folder: made if missing.
        num_gallery: drawings in the database, to check the positions against.

    Raises:
        InputError: a position outside the database, or one that stands twice for a query; nothing is written then.
        StorageError: the folder cannot be written.
    """
    rows = ranking.indices.cpu().numpy()
    if rows.size == 0:
        raise InputError(f"a ranking of {rows.shape[0]} queries and {rows.shape[1]} columns is empty; nothing to write")
    if rows.min() < 0 or rows.max() >= num_gallery:
        raise InputError(f"a ranking holds row {rows.max()}, but the database has {num_gallery} drawings")
    in_order = np.sort(rows, axis=1)
    twice = np.flatnonzero((in_order[:, 1:] == in_order[:, :-1]).any(axis=1))
    if len(twice):
        raise InputError(f"a ranking holds a row twice for query {twice[0]}; a row may stand once")
    memory = io.BytesIO()
    np.save(memory, rows)
    with atomic_write(Path(folder) / RESULT_NAME) as file:
        file.write(memory.getvalue())
    with atomic_write(Path(folder) / ZIP_NAME) as file, zipfile.ZipFile(file, "w") as archive:
        entry = zipfile.ZipInfo(RESULT_NAME, _ZIP_TIME)
        entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
        archive.writestr(entry, memory.getvalue())


def scores_table(steps: Sequence[tuple[str, Mapping[str, float]]] | Mapping[str, float]) -> str:
    """Scores as a plain table: one row, or one a step where (name, scores) pairs come, as `Evaluation.steps`."""
    if isinstance(steps, Mapping):
        return _table([steps], list(steps), names=None)
    keys = list(dict.fromkeys(key for _, scores in steps for key in scores))
    return _table([scores for _, scores in steps], keys, names=[name for name, _ in steps])


def _table(rows: Sequence[Mapping[str, float]], keys: list[str], *, names: list[str] | None) -> str:
    cells = [[_cell(row[key]) if key in row else "" for key in keys] for row in rows]
    if names is None:
        return tabulate(cells, headers=keys, disable_numparse=True, stralign="right")
    table = [[name, *row] for name, row in zip(names, cells)]
    align = ["left", *["right"] * len(keys)]
    return tabulate(table, headers=["after", *keys], disable_numparse=True, colalign=align if table else None)


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"
