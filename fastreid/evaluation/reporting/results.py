"""What a test leaves behind: `result.npy`, the same zipped for submission, and tables of the scores."""

import csv
import io
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from fastreid.evaluation.scoring.bootstrap import Intervals
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.structures import Ranking
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import atomic_write

RESULT_NAME = "result.npy"
ZIP_NAME = "result.zip"
_ID_COLUMNS = ["name", "patent", "matches", "first_place"]
_CSV_LINE_END = "\r\n"
_ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold; with it the same ranking gives the same bytes


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
        entry = zipfile.ZipInfo(RESULT_NAME, _ZIP_TIMESTAMP)
        entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
        archive.writestr(entry, memory.getvalue())


def format_scores(
    steps: Sequence[tuple[str, Mapping[str, float]]] | Mapping[str, float], intervals: Intervals | None = None
) -> str:
    """Scores as a plain table: a line for each score, a column for each step where (name, scores) pairs come.

    Args:
        steps: scores, or pairs as `Evaluation.steps`; counts come last.
        intervals: of the last step's scores, shown behind them.
    """
    columns = [("", steps)] if isinstance(steps, Mapping) else list(steps)
    names = list(dict.fromkeys(name for _, scores in columns for name in scores))
    names.sort(key=lambda name: name.startswith("num_"))
    lines = [[name, *(_format_score(scores.get(name)) for _, scores in columns)] for name in names]
    heads = ["score", *(name for name, _ in columns)]
    if intervals:
        heads.append("95 %")
        lines = [
            [*line, "[{:.1f}, {:.1f}]".format(*intervals[line[0]]) if line[0] in intervals else ""] for line in lines
        ]
    align = ("left", *["right"] * (len(heads) - 1)) if lines else None
    return tabulate(lines, headers=heads, disable_numparse=True, colalign=align)


def write_per_query_table(
    path: str | os.PathLike, scores: QueryScores, *, names: Sequence[str], patents: Sequence[str]
) -> None:
    """Write what every query got, a row each: name, patent, matches, place of the first, and its scores x100.

    What a query without a match did not get is left empty.

    Args:
        path: ends in .csv or in .parquet.
        scores: of the queries.
        names: the queries' names in the list's order.
        patents: and their patents.

    Raises:
        InputError: another ending, or names of other queries.
        EnvironmentSetupError: .parquet without pyarrow.
        StorageError: the file cannot be written.
    """
    if not len(names) == len(patents) == len(scores.num_matches):
        raise InputError(f"{len(names)} names and {len(patents)} patents do not fit {len(scores.num_matches)} queries")
    first_places = [int(place) if np.isfinite(place) else None for place in scores.first_ranks]
    columns: dict[str, Sequence] = dict(
        zip(_ID_COLUMNS, (list(names), list(patents), scores.num_matches.tolist(), first_places))
    )
    columns |= {name: [None if np.isnan(x) else x for x in values.tolist()] for name, values in scores.values.items()}
    check_table_path(path)
    content = TABLE_ENCODERS[Path(path).suffix](columns)
    with atomic_write(path) as file:
        file.write(content)


def read_per_query_table(path: str | os.PathLike) -> QueryScores:
    """What `write_per_query_table` wrote as .csv; a first match that was not reached stands at Inf, accept rates are lost.

    Raises:
        InputError: no such table, one that was cut, or one that lacks a score of a query that has matches.
    """
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
        if not text.endswith(_CSV_LINE_END):
            raise ValueError("its last line is cut")
        head, *lines = csv.reader(io.StringIO(text, newline=""))
        name, patent, matches, first_place, *scores = head
        _, patents, num_matches, places, *values = zip(*lines, strict=True)
        counts = np.array(num_matches, np.int64)
        columns = [np.array([float(x or "nan") for x in column]) for column in values]
        if [name, patent, matches, first_place] != _ID_COLUMNS or len(values) != len(scores):
            raise ValueError(f"its columns are {', '.join(head)}")
        for one, column in zip(scores, columns):
            if not np.isfinite(column[counts > 0]).all():
                raise ValueError(f"{one} of a query that has matches is no number")
        return QueryScores(
            values=dict(zip(scores, columns)),
            patents=np.unique(patents, return_inverse=True)[1],
            num_matches=counts,
            first_ranks=np.where(counts > 0, [float(x or "inf") for x in places], np.nan),
            tpr_at_fpr={},
        )
    except (OSError, ValueError, csv.Error, InputError) as error:
        raise InputError(
            f"{path}: no table of queries ({error}); remove it, and make it again with TEST.SCORE.PER_QUERY_FILE"
        )


def check_table_path(path: str | os.PathLike) -> None:
    """Refuse a table that could not be written, by its ending, before there is anything to write.

    Raises:
        InputError: another ending than .csv and .parquet.
        EnvironmentSetupError: .parquet without pyarrow.
    """
    ending = Path(path).suffix
    if ending not in TABLE_ENCODERS:
        raise InputError(f"{path}: a table ends in {' or '.join(TABLE_ENCODERS)} (TEST.SCORE.PER_QUERY_FILE)")
    if ending == ".parquet":
        _import_pyarrow()


def _import_pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise EnvironmentSetupError('a .parquet table needs pyarrow: pip install "fastreid[parquet]", or name it .csv')
    return pyarrow


def _encode_csv(columns: Mapping[str, Sequence]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=_CSV_LINE_END)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _encode_parquet(columns: Mapping[str, Sequence]) -> bytes:
    memory, pyarrow = io.BytesIO(), _import_pyarrow()
    words = {name: [_escape_undecodable(word) for word in columns[name]] for name in ("name", "patent")}
    pyarrow.parquet.write_table(pyarrow.table(dict(columns) | words), memory)
    return memory.getvalue()


def _escape_undecodable(word: str) -> str:
    """A file's name may hold bytes that are no text; Parquet takes text alone, so they are told as \\xff."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


TABLE_ENCODERS: dict[str, Callable[[Mapping[str, Sequence]], bytes]] = {".csv": _encode_csv, ".parquet": _encode_parquet}


def _format_score(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"
