"""The embedded back end: a LanceDB table in a folder."""

import contextlib
import datetime
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid.index.backends.arrow import arrow_type, column_type, split_vectors, to_arrow
from fastreid.index.backends.base import Backend, Candidates, IndexSettings
from fastreid.index.backends.exact import VectorMatrix
from fastreid.index.backends.lancedb_index import TableIndex
from fastreid.index.backends.lancedb_sql import SQL_TYPES, to_sql
from fastreid.index.columns import VECTOR, ColumnType, Row
from fastreid.index.filters import Filter, OneOf
from fastreid.utils.errors import EnvironmentSetupError, StorageError
from fastreid.utils.text import summarize_error

TABLE = "drawings"
_MAX_SMALL_FILES = 32  # files of few rows that a table may have after an addition
# Rows that a filter leaves and that are read for an exact search: 10,000 of 1,000,000 x 512 took 0.15 s, the exact
# search of LanceDB 4 s, because it reads all vectors.
_MAX_READ = 10_000
# With an index, reading few rows is faster than all partitions of the index, which a small filter needs. With 200,000 x
# 512, 1,000 rows took 19 ms and the index 19 ms; of 1,000,000, 2,000 rows took 40 ms and the index 55 ms, and 10,000
# rows 277 ms and the index 116 ms.
_MIN_READ, _ROWS_PER_READ = 1000, 400
_MARGIN = 64  # candidates more than asked for, as LanceDB rounds distances to float32
_KEEP_VERSIONS, _KEEP_RECENT = datetime.timedelta(hours=1), datetime.timedelta(minutes=1)  # for other readers
_ROWS_PER_BLOCK = 8192
# Of the file format. A search of ten rows in 1,000,000 spent 3 ms on their metadata with 2.1, and 12 ms with 2.2.
_FILE_FORMAT = "2.1"
_CHANGES = "another process changes the collection all the time; search again"


def import_lancedb() -> ModuleType:
    """Import LanceDB.

    Raises:
        EnvironmentSetupError: it is not installed.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # read at import; its warnings are for developers
    try:
        return importlib.import_module("lancedb")
    except ImportError as error:
        raise EnvironmentSetupError("collections need lancedb, the extra `search`: pip install lancedb") from error


class LanceBackend(Backend):
    """A LanceDB table.

    Args:
        folder: folder of the database, with a table.
        settings: how it is searched.

    Raises:
        EnvironmentSetupError: LanceDB is not installed.
        StorageError: the table is missing or damaged.
    """

    def __init__(self, folder: Path, settings: IndexSettings):
        self.folder, self.settings = folder, settings
        database = import_lancedb().connect(str(folder), read_consistency_interval=datetime.timedelta(0))
        with self._translate_errors():
            self._table = database.open_table(TABLE)
            self._dim = int(self._table.schema.field(VECTOR).type.list_size)
        self._index = TableIndex(self._table, folder, settings, self._dim)
        self._matrix: VectorMatrix | None = None
        self._matrix_version = -1

    @classmethod
    def create(cls, folder: Path, *, dim: int, columns: Mapping[str, ColumnType], settings: IndexSettings) -> "Backend":
        """Create an empty table.

        Args:
            folder: folder of the database; created.
            dim: number of values of a vector.
            columns: columns and their types.
            settings: how it is searched.
        """
        pa = importlib.import_module("pyarrow")
        fields = [(name, arrow_type(kind)) for name, kind in columns.items()]
        schema = pa.schema([*fields, (VECTOR, pa.list_(pa.float32(), dim))])
        options = {"new_table_data_storage_version": _FILE_FORMAT}
        database = import_lancedb().connect(str(folder), storage_options=options)
        database.create_table(TABLE, schema=schema, exist_ok=True)
        return cls(folder, settings)

    @property
    def dim(self) -> int:
        return self._dim

    def columns(self) -> dict[str, ColumnType]:
        with self._translate_errors():
            schema = self._table.schema
        return {field.name: column_type(field.type) for field in schema if field.name != VECTOR}

    def add_columns(self, columns: Mapping[str, ColumnType]) -> None:
        if columns:
            with self._translate_errors():
                self._table.add_columns({name: f"cast(NULL as {SQL_TYPES[kind]})" for name, kind in columns.items()})

    def insert(self, rows: Sequence[Row], vectors: Tensor) -> None:
        if rows:
            content = to_arrow(rows, vectors, self._table.schema)
            with self._translate_errors():
                self._table.add(content)

    def replace(self, rows: Sequence[Row], vectors: Tensor) -> None:
        if rows:
            content = to_arrow(rows, vectors, self._table.schema)
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            with self._translate_errors():
                merge.execute(content)

    def delete(self, node: Filter) -> int:
        with self._translate_errors():
            return int(self._table.delete(to_sql(node)).num_deleted_rows)

    def count(self, node: Filter | None = None) -> int:
        with self._translate_errors():
            return int(self._table.count_rows(None if node is None else to_sql(node)))

    def get(self, ids: Sequence[str]) -> Candidates:
        with self._translate_errors():
            table = self._select([*self.columns(), VECTOR], OneOf("id", tuple(ids))).to_arrow()
        found = split_vectors(table, self.dim)
        positions = {str(row["id"]): position for position, row in enumerate(found.rows)}
        order = [positions[name] for name in ids if name in positions]
        return Candidates([found.rows[position] for position in order], found.vectors[order])

    def scan(self, columns: Sequence[str], node: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        for batch in self._iter_batches(self._select(columns, node)):
            block = batch.to_pydict() if VECTOR not in columns else batch.drop_columns([VECTOR]).to_pydict()
            rows = [dict(zip(block, values)) for values in zip(*block.values())] if block else []
            if VECTOR in columns:
                rows = rows or [{} for _ in range(batch.num_rows)]
                vectors = batch.column(VECTOR).flatten().to_numpy().reshape(-1, self.dim)
                rows = [row | {VECTOR: vector} for row, vector in zip(rows, vectors)]
            if rows:
                yield rows

    def find_candidates(
        self, query: Tensor, num: int, *, node: Filter | None = None, distinct: str | None = None
    ) -> Candidates:
        num_rows = self.count()
        if num_rows <= self.settings.exact_max_rows:
            with self._translate_errors():
                return self._search_matrix(query, num, node=node, distinct=distinct)
        num_matching = num_rows if node is None else self.count(node)
        is_exact = not self._index.exists()
        max_read = _MAX_READ if is_exact else min(_MAX_READ, max(_MIN_READ, num_rows // _ROWS_PER_READ))
        if num_matching <= min(max_read, self.settings.exact_max_rows):
            with self._translate_errors():
                return self._search_read(query, num, node=node, distinct=distinct)
        share = num_matching / num_rows
        limit = (num if distinct is None else 4 * num) + _MARGIN * is_exact
        while True:
            found = self._search_table(query, limit, node=node, is_exact=is_exact, share=share)
            values = [row.get(distinct) if distinct else None for row in found.rows]
            num_found = len({value for value in values if value is not None}) + values.count(None)
            if num_found >= num or len(found.rows) < limit:
                return found
            limit *= 4

    def maintain(self, *, thoroughly: bool) -> None:
        with self._translate_errors():
            files = self._table.stats()["fragment_stats"]
            if thoroughly or files["num_small_fragments"] > _MAX_SMALL_FILES:
                self._table.optimize(cleanup_older_than=_KEEP_RECENT if thoroughly else _KEEP_VERSIONS)
            self._index.update(self.count())

    def read_version(self) -> int:
        with self._translate_errors():
            return int(self._table.version)

    def describe(self) -> dict[str, Any]:
        num_rows = self.count()
        stats = self._table.stats()
        search = "exact"
        if num_rows > self.settings.exact_max_rows:
            search = self._index.describe() or "exact, without an index"
        return {
            "backend": "lancedb",
            "version": self.read_version(),
            "files": int(stats["fragment_stats"]["num_fragments"]),
            "search": search,
        }

    def _iter_batches(self, query: Any) -> Iterator[Any]:
        """Yield the result of a query in Arrow batches."""
        with self._translate_errors():
            yield from query.to_batches(_ROWS_PER_BLOCK)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn the errors of LanceDB's Rust code into one line."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, (RuntimeError, OSError, ValueError)) and type(error).__name__ != "RustPanic":
                raise
            raise StorageError(f"{self.folder}: {summarize_error(error)}; free space, or restore the folder") from error

    def _select(self, columns: Sequence[str], node: Filter | None) -> Any:
        """Return a query for all rows that fulfill a filter."""
        query = self._table.search().select(list(columns)).limit(None)
        return query if node is None else query.where(to_sql(node))

    def _search_table(
        self, query: Tensor, limit: int, *, node: Filter | None, is_exact: bool, share: float
    ) -> Candidates:
        search = self._index.search(query, limit, is_exact=is_exact, share=share)
        if node is not None:
            search = search.where(to_sql(node), prefilter=True)
        with self._translate_errors():
            found = search.select([*self.columns(), VECTOR, "_distance"]).to_arrow()
            return split_vectors(found, self.dim)

    def _search_matrix(self, query: Tensor, num: int, *, node: Filter | None, distinct: str | None) -> Candidates:
        for _ in range(3):  # another process can change the table between two reads
            matrix = self._load_matrix()
            if distinct is not None and not matrix.has_groups(distinct):
                matrix.set_groups(distinct, self._read_column(distinct, matrix))
            rows = None
            if node is not None:
                selected = self._select(["id"], node).with_row_id(True).to_arrow()
                row_ids = selected.column("_rowid").to_numpy()
                if not np.isin(row_ids, matrix.row_ids).all():
                    continue
                rows = matrix.find_rows(row_ids)
            found = self._take_nearest(matrix, query, num, rows=rows, distinct=distinct)
            if found is not None:
                return found
        raise StorageError(f"{self.folder}: {_CHANGES}")

    def _search_read(self, query: Tensor, num: int, *, node: Filter | None, distinct: str | None) -> Candidates:
        """Search exactly among the rows that fulfill a filter, of which only these are read."""
        for _ in range(3):  # another process can change the table between two reads
            matrix = self._read_matrix(node)
            if distinct is not None:
                matrix.set_groups(distinct, self._read_column(distinct, matrix, node))
            found = self._take_nearest(matrix, query, num, rows=None, distinct=distinct)
            if found is not None:
                return found
        raise StorageError(f"{self.folder}: {_CHANGES}")

    def _take_nearest(
        self, matrix: VectorMatrix, query: Tensor, num: int, *, rows: Tensor | None, distinct: str | None
    ) -> Candidates | None:
        """Return the rows of a matrix that contain the nearest ones; None if the table no longer has them."""
        near = matrix.select_candidates(query, num, rows=rows, distinct=distinct)
        if not len(near):
            return Candidates([], matrix.vectors[near])
        names = [matrix.ids[row] for row in near.tolist()]
        taken = self._table.take_row_ids(matrix.row_ids[near.numpy()].tolist()).select(list(self.columns()))
        values = taken.to_arrow().to_pylist()
        return Candidates(values, matrix.vectors[near]) if [row["id"] for row in values] == names else None

    def _load_matrix(self) -> VectorMatrix:
        version = self.read_version()
        if self._matrix is None or self._matrix_version != version:
            self._matrix = None  # its memory is free before the new one is read
            self._matrix, self._matrix_version = self._read_matrix(None), version
        return self._matrix

    def _read_matrix(self, node: Filter | None) -> VectorMatrix:
        """Read the vectors of the rows that fulfill a filter."""
        parts: list[Any] = []
        ids: list[str] = []
        row_ids: list[Any] = []
        for batch in self._iter_batches(self._select(["id", VECTOR], node).with_row_id(True)):
            parts.append(batch.column(VECTOR).flatten().to_numpy().reshape(-1, self.dim))
            ids += batch.column("id").to_pylist()
            row_ids.append(batch.column("_rowid").to_numpy())
        vectors = torch.from_numpy(np.concatenate(parts)) if parts else torch.empty(0, self.dim)
        return VectorMatrix(vectors, np.concatenate(row_ids) if row_ids else np.empty(0, np.uint64), ids)

    def _read_column(self, column: str, matrix: VectorMatrix, node: Filter | None = None) -> list[Any]:
        values = {row["id"]: row[column] for block in self.scan(list({"id", column}), node) for row in block}
        return [values.get(name) for name in matrix.ids]
