"""The back end for many machines: a collection of a Milvus server."""

import datetime
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid.index.backends.base import Backend, Candidates, IndexSettings
from fastreid.index.backends.milvus_client import MilvusAddress
from fastreid.index.backends.milvus_expr import KEY, to_expression, to_stored
from fastreid.index.backends.milvus_records import MilvusRecords
from fastreid.index.backends.milvus_table import MAX_TEXT_BYTES, MilvusTable, check_text, find_dim, make_key
from fastreid.index.backends.probes import NUM_SAMPLES, TOP_K, Probes, describe_probes, measure_probes
from fastreid.index.columns import STANDARD_COLUMNS, SYSTEM_COLUMNS, VECTOR, ColumnType, Row, Value
from fastreid.index.filters import And, Comparison, Filter, Not, OneOf, join
from fastreid.utils.errors import InputError, StorageError

FIELDS: dict[str, ColumnType] = {**SYSTEM_COLUMNS, **STANDARD_COLUMNS}  # of the schema; user columns are dynamic
VERSION = "version"  # name of the text with the number of changes
_COLUMNS, _PROBES = "columns", "probes"  # names of texts
_DATA_TYPES: dict[ColumnType, dict[str, Any]] = {
    "text": {"datatype": "VARCHAR", "max_length": MAX_TEXT_BYTES},
    "integer": {"datatype": "INT64"},
    "number": {"datatype": "DOUBLE"},
    "date": {"datatype": "INT64"},
    "boolean": {"datatype": "BOOL"},
}
_INDEX = "IVF_FLAT"
_MAX_RESULTS = 16_384  # of one search, a limit of Milvus
_MARGIN = 64  # candidates more than asked for, because drawings can be equally near
_ROUNDOFF = 2.0**-24  # of float32
_SHARED_S = 2.0  # age at which the columns and the number of probes are read again
_SEGMENT_BYTES = 1 << 30  # of a full segment, each of which has its own partitions
_ROWS_PER_BATCH = 1024


class MilvusBackend(Backend):
    """A collection of a Milvus server.

    Args:
        client: a `MilvusClient`.
        address: address of the collection.
        records: data that all clients of the collection share.
        settings: how it is searched.
        check_lock: raises if this process may no longer change the collection; called before each change.

    Raises:
        StorageError: the collection is missing, has no vectors, or the server is not reachable.
    """

    def __init__(
        self,
        client: Any,
        address: MilvusAddress,
        records: MilvusRecords,
        *,
        settings: IndexSettings,
        check_lock: Callable[[], None],
    ):
        self.address, self.settings = address, settings
        self._records, self._check_lock = records, check_lock
        self._table = MilvusTable(client, address, address.collection)
        if not self._table.exists():
            raise StorageError(f"{address}: the server has no collection {address.collection}, only the data of it")
        self._dim = find_dim(self._table.describe())
        self._table.load()
        self._shared: dict[str, tuple[float, dict[str, Any]]] = {}  # texts of the records, with the time of reading

    @staticmethod
    def create_table(client: Any, address: MilvusAddress, *, dim: int) -> None:
        """Create an empty collection on the server."""
        fields = [{"field_name": name, "nullable": True, **_DATA_TYPES[kind]} for name, kind in FIELDS.items()]
        MilvusTable(client, address, address.collection).create(fields, dim=dim, has_dynamic=True, mmap=False)

    @property
    def dim(self) -> int:
        return self._dim

    def columns(self) -> dict[str, ColumnType]:
        return {**FIELDS, **self._read_shared(_COLUMNS)}

    def add_columns(self, columns: Mapping[str, ColumnType]) -> None:
        if columns:
            self._check_lock()
            self._shared.clear()
            self._write_shared(_COLUMNS, {**self._read_shared(_COLUMNS), **columns})

    def insert(self, rows: Sequence[Row], vectors: Tensor) -> None:
        self.replace(rows, vectors)  # an insertion that the client repeats would add the rows twice

    def replace(self, rows: Sequence[Row], vectors: Tensor) -> None:
        if vectors.shape != (len(rows), self._dim) or vectors.dtype != torch.float32:
            raise InputError(
                f"vectors of {len(rows)} drawings must be float32 ({len(rows)}, {self._dim}), not {vectors.dtype} "
                f"{tuple(vectors.shape)}"
            )
        arrays = vectors.contiguous().numpy()
        content = [_encode_row(row, vector) for row, vector in zip(rows, arrays, strict=True)]
        for start in range(0, len(content), _ROWS_PER_BATCH):
            self._check_lock()
            self._table.upsert(content[start : start + _ROWS_PER_BATCH])

    def delete(self, node: Filter) -> int:
        keys = [row[KEY] for block in self._table.scan(self._translate(node), []) for row in block]
        self._check_lock()
        self._table.delete(keys)
        return len(keys)

    def count(self, node: Filter | None = None) -> int:
        return self._table.count(self._translate(node))

    def get(self, ids: Sequence[str]) -> Candidates:
        found = {row["id"]: row for row in self._table.get(list(map(make_key, ids)), ["*"])}
        return self._split([found[name] for name in ids if name in found])

    def scan(self, columns: Sequence[str], node: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        kinds = self.columns()
        for block in self._table.scan(self._translate(node), columns):
            yield [
                {
                    name: np.asarray(row[VECTOR], np.float32) if name == VECTOR else _decode(row.get(name), kinds[name])
                    for name in columns
                }
                for row in block
            ]

    def find_candidates(
        self, query: Tensor, num: int, *, node: Filter | None = None, distinct: str | None = None
    ) -> Candidates:
        options = self._choose_options(node)
        bound = 4 * (self._dim + 16) * _ROUNDOFF
        found: list[tuple[float, dict[str, Any]]] = []
        rest, limit = node, min(num + _MARGIN, _MAX_RESULTS)
        while True:
            part = self._table.search(query.numpy(), limit, self._translate(rest), fields=["*"], options=options)
            best = _find_best([*found, *part], distinct)
            if len(part) < limit or (len(best) >= num and part[-1][0] < best[num - 1] - bound):
                return self._split([row for _, row in (*found, *part)])
            if limit < _MAX_RESULTS:
                limit = min(4 * limit, _MAX_RESULTS)
            else:  # more than one search can return
                found += part
                rest = join(node, *_exclude(found, distinct))

    def maintain(self, *, thoroughly: bool) -> None:
        num_rows = self.count()
        if num_rows > self.settings.exact_max_rows:
            probes = self._read_probes()
            num_partitions = self._choose_partitions(num_rows)
            is_built = probes is not None and self._table.read_index_type() == _INDEX
            if not is_built or (probes is not None and num_partitions >= 2 * probes.num_partitions):
                self._check_lock()
                self._build_index(num_partitions)
        if thoroughly:
            self._table.merge_segments()

    def read_version(self) -> int:
        return int(self._records.load_text(VERSION) or 0)

    def describe(self) -> dict[str, Any]:
        probes, search = self._read_probes(), "exact"
        if self.count() > self.settings.exact_max_rows:
            search = "exact, without an index"
            if probes is not None and self._table.read_index_type() == _INDEX:
                recall = describe_probes(probes, self.settings.num_probes)
                search = f"IVF index of {probes.num_partitions} partitions, {recall}"
        return {"backend": "milvus", "search": search}

    def _build_index(self, num_partitions: int) -> None:
        # Until the recall is measured, a search reads all partitions.
        self._write_shared(_PROBES, asdict(Probes(num_partitions, num_partitions, 1.0)))
        self._table.build_index(_INDEX, {"nlist": num_partitions})
        probes = measure_probes(
            self._sample_queries(),
            num_partitions,
            find_exact=lambda query: set(self._find_keys(query, num_partitions)[1:]),  # the nearest row is the query
            find_approximate=lambda query, num: set(self._find_keys(query, num)),
        )
        self._write_shared(_PROBES, asdict(probes))

    def _sample_queries(self) -> list[Tensor]:
        """Return vectors of rows whose keys, which are digests, are the first: a random sample."""
        block = next(self._table.scan("", [VECTOR]))
        return [torch.tensor(row[VECTOR], dtype=torch.float32) for row in block[:NUM_SAMPLES]]

    def _find_keys(self, query: Tensor, num_probes: int) -> list[str]:
        hits = self._table.search(query.numpy(), TOP_K + 1, "", fields=[KEY], options={"nprobe": num_probes})
        return [str(row[KEY]) for _, row in hits]

    def _choose_partitions(self, num_rows: int) -> int:
        return self.settings.choose_partitions(min(num_rows, max(1, _SEGMENT_BYTES // (4 * self._dim))))

    def _choose_options(self, node: Filter | None) -> dict[str, int]:
        """Return the parameters of a search; all partitions are read if few rows fulfill the filter."""
        probes = self._read_probes()
        if probes is None:
            return {}
        if self.count(node) <= self.settings.exact_max_rows:
            return {"nprobe": probes.num_partitions}
        return {"nprobe": min(self.settings.num_probes or probes.num_probes, probes.num_partitions)}

    def _read_probes(self) -> Probes | None:
        content = self._read_shared(_PROBES)
        return Probes(**content) if content else None

    def _read_shared(self, name: str) -> dict[str, Any]:
        """Return an object of JSON that all clients share, at most a few seconds old; empty if there is none."""
        if name not in self._shared or time.monotonic() - self._shared[name][0] > _SHARED_S:
            text = self._records.load_text(name)
            try:
                self._shared[name] = time.monotonic(), json.loads(text) if text else {}
            except ValueError:
                raise StorageError(f"{self.address}: its {name} are being changed; try again")
        return self._shared[name][1]

    def _write_shared(self, name: str, content: dict[str, Any]) -> None:
        self._records.store_text(name, json.dumps(content))
        self._shared[name] = time.monotonic(), content

    def _translate(self, node: Filter | None) -> str:
        return "" if node is None else to_expression(node, FIELDS)

    def _split(self, rows: Sequence[Mapping[str, Any]]) -> Candidates:
        """Return rows of the server with all columns, and their vectors."""
        if any(row.keys() - self.columns().keys() - {KEY, VECTOR} for row in rows):
            self._shared.clear()  # another process added a column
        kinds = self.columns()
        vectors = np.array([row[VECTOR] for row in rows], np.float32).reshape(len(rows), self._dim)
        decoded = [{name: _decode(row.get(name), kind) for name, kind in kinds.items()} for row in rows]
        return Candidates(decoded, torch.from_numpy(vectors))


def _encode_row(row: Row, vector: Any) -> dict[str, Any]:
    name = str(row["id"])
    content: dict[str, Any] = {}
    for column, value in row.items():
        check_text(value, column, name)
        if value is not None:
            content[column] = to_stored(value)
    dynamic = {column: value for column, value in content.items() if column not in FIELDS}
    if len(json.dumps(dynamic).encode()) > MAX_TEXT_BYTES:
        check_text(json.dumps(dynamic), "the metadata", name)
    return {KEY: make_key(name), VECTOR: vector, **content}


def _decode(value: Any, kind: ColumnType) -> Value | None:
    if value is None:
        return None
    if kind == "date":
        return datetime.date(value // 10_000, value // 100 % 100, value % 100)
    return float(value) if kind == "number" else value


def _find_best(found: Sequence[tuple[float, Mapping[str, Any]]], distinct: str | None) -> list[float]:
    """Return the scores of the best row of each group, in descending order; without groups those of all rows."""
    best: dict[tuple[str, Any], float] = {}
    for score, row in found:
        value = None if distinct is None else row.get(distinct)
        group = ("key", row[KEY]) if value is None else ("value", value)
        best[group] = max(score, best.get(group, score))
    return sorted(best.values(), reverse=True)


def _exclude(found: Sequence[tuple[float, Mapping[str, Any]]], distinct: str | None) -> list[Filter]:
    """Return filters that exclude the groups of rows; without groups the rows."""
    values = {value for _, row in found if distinct and (value := row.get(distinct)) is not None}
    ids = [row["id"] for _, row in found if distinct is None or row.get(distinct) is None]
    # Whole texts: equality would also exclude those that have one of the texts among several values.
    whole = [Not(And((Comparison(distinct, ">=", one), Comparison(distinct, "<=", one)))) for one in values if distinct]
    return [Not(OneOf("id", tuple(ids))), *whole]
