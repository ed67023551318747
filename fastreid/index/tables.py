"""Tables with metadata: CSV and Parquet files."""

import csv
import importlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.index.columns import (
    OPTIONAL_COLUMNS,
    STANDARD_COLUMNS,
    ColumnType,
    Value,
    convert_name,
    convert_value,
    infer_type,
    normalize_values,
)
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import read_file_bytes
from fastreid.utils.text import summarize_error

TABLE_SUFFIXES = (".csv", ".parquet")
PATH = "path"
_MAX_FIELD_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Table:
    """A table with metadata.

    Args:
        path: its file.
        types: name -> type of each column, without `path`.
        paths: value of the column `path` of each row; empty without this column.
        columns: name -> values of a column, None where it has none.
        sources: where each row is, such as "list.csv:2", for messages.
    """

    path: Path
    types: dict[str, ColumnType]
    paths: Sequence[str]
    columns: dict[str, list[Value | None]]
    sources: Sequence[str]

    def iter_rows(self) -> Iterator[dict[str, Value]]:
        """Yield the values of each row, without missing ones."""
        for position in range(len(self.sources)):
            row = {name: values[position] for name, values in self.columns.items()}
            yield {name: value for name, value in row.items() if value is not None}


def read_table(path: Path, known: dict[str, ColumnType]) -> Table:
    """Read a CSV file with a header, or a Parquet file.

    Names of columns are converted (`convert_name`). A column `id` is the patent if there is no column `patent`, as in
    image lists. A column that the collection does not have yet gets the type of its values.

    Args:
        path: the file; the name ends in .csv or .parquet.
        known: columns of the collection, with their types.

    Raises:
        InputError: the file cannot be read, has no rows, or a value does not fit its column.
        EnvironmentSetupError: a Parquet file, and pyarrow is not installed.
    """
    names, rows, sources = (_read_parquet if path.suffix.lower() == ".parquet" else _read_csv)(path)
    columns = _convert_names(path, names)
    if not rows:
        raise InputError(f"{path}: the table has no rows; add one per drawing or per patent")
    types: dict[str, ColumnType] = {}
    values: dict[str, list[Value | None]] = {}
    paths: list[str] = []
    for position, name in enumerate(columns):
        raw = [row[position] for row in rows]
        if name == PATH:
            paths = [str(value or "").strip().replace("\\", "/") for value in raw]
            continue
        types[name] = known.get(name) or {**STANDARD_COLUMNS, **OPTIONAL_COLUMNS}.get(name) or find_type(raw)
        values[name] = [
            normalize_values(name, _convert(value, types[name], f"{source}: {name}"))
            for value, source in zip(raw, sources, strict=True)
        ]
    return Table(path, types, paths, values, sources)


def _convert(value: object, kind: ColumnType, where: str) -> Value | None:
    try:
        return convert_value(value.strip() if isinstance(value, str) else value, kind)
    except InputError as error:
        raise InputError(f"{where}: {error}; correct the value or leave it empty")


def find_type(values: Sequence[object]) -> ColumnType:
    """Return the type of a new column, by its Python values or, if these are texts, by their content."""
    present = [value for value in values if value is not None and value != ""]
    if all(isinstance(value, str) for value in present):
        return infer_type([str(value).strip() for value in present])
    kinds: tuple[ColumnType, ...] = ("integer", "number", "boolean", "date")
    for kind in kinds:
        try:
            for value in present:
                if isinstance(value, bool) != (kind == "boolean"):
                    raise InputError("another type")
                convert_value(value, kind)
        except InputError:
            continue
        return kind
    return "text"


def _convert_names(path: Path, names: Sequence[str]) -> list[str]:
    plain = [name.strip().lower() for name in names]
    converted = []
    for name, original in zip(plain, names):
        if name == "id" and "patent" not in plain:
            name = "patent"
        if name != PATH:
            try:
                name = convert_name("patent" if name == "patent" else original)
            except InputError as error:
                raise InputError(f"{path}: {error}")
        converted.append(name)
    repeated = next((name for name in converted if converted.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{path}: two columns have the name {repeated}; rename one of them")
    if not {PATH, "patent"} & set(converted):
        raise InputError(f"{path}: has neither a column path nor a column patent; columns: {', '.join(converted)}")
    return converted


def _read_csv(path: Path) -> tuple[list[str], list[list[Any]], list[str]]:
    try:
        text = read_file_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}); save the table as UTF-8")
    header = next((line for line in text.splitlines() if line.strip(",;\t ")), "")
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    previous = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names: list[str] = []
    rows: list[list[Any]] = []
    sources = []
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            source = f"{path.name}:{reader.line_num}"
            if not names:
                names = fields
            elif len(fields) != len(names):
                raise InputError(f"{source}: {len(fields)} fields, but the header has {len(names)}; correct the line")
            else:
                rows.append(fields)
                sources.append(source)
    except csv.Error as error:
        raise InputError(f"{path.name}:{reader.line_num}: not CSV ({error})")
    finally:
        csv.field_size_limit(previous)
    return names, rows, sources


def _read_parquet(path: Path) -> tuple[list[str], list[list[Any]], list[str]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise EnvironmentSetupError(f"{path}: Parquet files need pyarrow: pip install pyarrow") from error
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a Parquet file, or it cannot be read ({summarize_error(error)})")
    columns = [table.column(position).to_pylist() for position in range(table.num_columns)]
    rows = [list(row) for row in zip(*columns)]
    return list(table.column_names), rows, [f"{path.name}:row {number}" for number in range(1, len(rows) + 1)]
