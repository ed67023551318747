"""Result files of a test: `result.npy`, its zip archive for submission, and tables of scores."""

import csv
import io
import json
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
from fastreid.utils.files import atomic_write, open_regular_file, write_text

RESULT_NAME = "result.npy"
SCORES_NAME = "scores.json"
ZIP_NAME = "result.zip"
_ID_COLUMNS = ["name", "patent", "matches", "first_place"]
_CSV_LINE_END = "\r\n"
_ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest that zip allows; a constant, so equal rankings give equal bytes


def write_results(ranking: Ranking, folder: str | os.PathLike[str], *, num_gallery: int) -> None:
    """Write `result.npy` and `result.zip` atomically to a folder.

    `result.npy` is int64 (num_queries, TOP_K): for each query, in list order, 0-based positions in the gallery list,
    nearest first. `result.zip` contains only that file; equal rankings give equal bytes.

    Args:
        ranking: ranking of the queries in list order.
        folder: created if missing.
        num_gallery: number of gallery drawings, to validate the positions.

    Raises:
        InputError: the ranking is empty, or has a position outside the gallery or a repeated one; nothing is written.
        StorageError: the folder cannot be written.
    """
    rows = ranking.indices.cpu().numpy()
    if rows.size == 0:
        raise InputError(f"a ranking of {rows.shape[0]} queries and {rows.shape[1]} columns is empty; nothing to write")
    if rows.min() < 0 or rows.max() >= num_gallery:
        raise InputError(f"a ranking contains row {rows.max()}, but the gallery has {num_gallery} drawings")
    sorted_rows = np.sort(rows, axis=1)
    repeated = np.flatnonzero((sorted_rows[:, 1:] == sorted_rows[:, :-1]).any(axis=1))
    if len(repeated):
        raise InputError(f"a ranking contains a row twice for query {repeated[0]}; each row may occur once")
    memory = io.BytesIO()
    np.save(memory, rows)
    with atomic_write(Path(folder) / RESULT_NAME) as file:
        file.write(memory.getvalue())
    with atomic_write(Path(folder) / ZIP_NAME) as file, zipfile.ZipFile(file, "w") as archive:
        entry = zipfile.ZipInfo(RESULT_NAME, _ZIP_TIMESTAMP)
        entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
        archive.writestr(entry, memory.getvalue())


def write_scores(
    folder: str | os.PathLike[str],
    steps: Sequence[tuple[str, Mapping[str, float]]],
    *,
    counts: Mapping[str, int],
    intervals: Intervals | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write `scores.json`: the scores after the last post-processing step and after each step, and their origin.

    Args:
        folder: created if missing.
        steps: (name, scores) pairs as `Evaluation.steps`; empty if the patents are unknown.
        counts: numbers of queries and gallery drawings.
        intervals: 95 % confidence intervals of the last step's scores; None: they were not computed.
        origin: other entries, such as the weights, settings and versions.

    Raises:
        StorageError: the folder cannot be written.
    """
    last = dict(steps[-1][1]) if steps else {}
    counts = {**counts, **{name: int(value) for name, value in last.items() if name.startswith("num_")}}
    content = {
        **(origin or {}),
        "counts": counts,
        "scores": {name: value for name, value in last.items() if name not in counts},
        "intervals_95": {name: list(interval) for name, interval in (intervals or {}).items()},
        "steps": [
            {"name": step, "scores": {name: value for name, value in scores.items() if name not in counts}}
            for step, scores in steps
        ],
    }
    write_text(Path(folder) / SCORES_NAME, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def format_scores(
    steps: Sequence[tuple[str, Mapping[str, float]]] | Mapping[str, float], intervals: Intervals | None = None
) -> str:
    """Return scores as a plain-text table with one row per score and one column per post-processing step.

    Args:
        steps: scores, or (name, scores) pairs as `Evaluation.steps`; counts are listed last.
        intervals: 95 % confidence intervals of the last step's scores, added as last column.
    """
    columns = [("", steps)] if isinstance(steps, Mapping) else list(steps)
    names = list(dict.fromkeys(name for _, scores in columns for name in scores))
    names.sort(key=lambda name: name.startswith("num_"))
    lines = [[name, *(_format_score(scores.get(name)) for _, scores in columns)] for name in names]
    headers = ["score", *(name for name, _ in columns)]
    if intervals:
        headers.append("95 %")
        lines = [
            [*line, "[{:.1f}, {:.1f}]".format(*intervals[line[0]]) if line[0] in intervals else ""] for line in lines
        ]
    align = ("left", *["right"] * (len(headers) - 1)) if lines else None
    return str(tabulate(lines, headers=headers, disable_numparse=True, colalign=align))


def write_per_query_table(
    path: str | os.PathLike[str], scores: QueryScores, *, names: Sequence[str], patents: Sequence[str]
) -> None:
    """Write a table with one row per query: name, patent, number of matches, rank of the first, and its scores x100.

    The scores of a query without a match are empty.

    Args:
        path: file ending in .csv or .parquet.
        scores: scores of the queries.
        names: names of the queries in list order.
        patents: patents of the queries.

    Raises:
        InputError: the file has another ending, or names and patents do not match the scores.
        EnvironmentSetupError: .parquet without pyarrow.
        StorageError: the file cannot be written.
    """
    if not len(names) == len(patents) == len(scores.num_matches):
        raise InputError(
            f"{len(names)} names and {len(patents)} patents do not match {len(scores.num_matches)} queries"
        )
    first_ranks = [int(rank) if np.isfinite(rank) else None for rank in scores.first_ranks]
    columns: dict[str, Sequence[Any]] = dict(
        zip(_ID_COLUMNS, (list(names), list(patents), scores.num_matches.tolist(), first_ranks))
    )
    columns |= {name: [None if np.isnan(x) else x for x in values.tolist()] for name, values in scores.values.items()}
    check_table_path(path)
    content = TABLE_ENCODERS[Path(path).suffix](columns)
    with atomic_write(path) as file:
        file.write(content)


def read_per_query_table(path: str | os.PathLike[str]) -> QueryScores:
    """Read a .csv file of `write_per_query_table`.

    A first match that a short ranking does not contain has rank Inf. The true positive rates are not in the file.

    Raises:
        InputError: the file is missing, truncated, or lacks a score of a query that has matches.
    """
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape", opener=open_regular_file) as file:
            text = file.read()
        if not text.endswith(_CSV_LINE_END):
            raise ValueError("its last line is truncated")
        header, *lines = csv.reader(io.StringIO(text, newline=""))
        name, patent, matches, first_rank, *score_names = header
        _, patents, num_matches, ranks, *values = zip(*lines, strict=True)
        counts = np.array(num_matches, np.int64)
        columns = [np.array([float(x or "nan") for x in column]) for column in values]
        if [name, patent, matches, first_rank] != _ID_COLUMNS or len(values) != len(score_names):
            raise ValueError(f"its columns are {', '.join(header)}")
        for score_name, column in zip(score_names, columns):
            if not np.isfinite(column[counts > 0]).all():
                raise ValueError(f"{score_name} of a query with matches is not a number")
        return QueryScores(
            values=dict(zip(score_names, columns)),
            patents=np.unique(patents, return_inverse=True)[1],
            num_matches=counts,
            first_ranks=np.where(counts > 0, [float(x or "inf") for x in ranks], np.nan),
            tpr_at_fpr={},
        )
    except (OSError, ValueError, csv.Error, InputError) as error:
        raise InputError(
            f"{path}: not a table of query scores ({error}); delete it and write it again with "
            "TEST.SCORE.PER_QUERY_FILE"
        )


def check_table_path(path: str | os.PathLike[str]) -> None:
    """Check that a table can be written under this file name.

    Raises:
        InputError: the file ends in neither .csv nor .parquet.
        EnvironmentSetupError: .parquet without pyarrow.
    """
    ending = Path(path).suffix
    if ending not in TABLE_ENCODERS:
        raise InputError(f"{path}: a table must end in {' or '.join(TABLE_ENCODERS)} (TEST.SCORE.PER_QUERY_FILE)")
    if ending == ".parquet":
        _import_pyarrow()


def _import_pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise EnvironmentSetupError("a .parquet table needs pyarrow: pip install pyarrow, or name it .csv")
    return pyarrow


def _encode_csv(columns: Mapping[str, Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=_CSV_LINE_END)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _encode_parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    memory, pyarrow = io.BytesIO(), _import_pyarrow()
    texts = {name: [_escape_undecodable(text) for text in columns[name]] for name in ("name", "patent")}
    pyarrow.parquet.write_table(pyarrow.table(dict(columns) | texts), memory)
    return memory.getvalue()


def _escape_undecodable(text: str) -> str:
    """Replace bytes of a file name that are not UTF-8 by escapes such as \\xff, because Parquet stores only UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


TABLE_ENCODERS: dict[str, Callable[[Mapping[str, Sequence[Any]]], bytes]] = {
    ".csv": _encode_csv,
    ".parquet": _encode_parquet,
}


def _format_score(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"
