"""A collection of a Milvus server with a primary key: reads see all earlier writes, and writes can be repeated."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastreid.index.backends.milvus_client import CALL_S, MilvusAddress, import_pymilvus, translate_errors
from fastreid.index.backends.milvus_expr import ALWAYS, KEY, one_of
from fastreid.index.columns import VECTOR
from fastreid.utils.errors import InputError, StorageError

MAX_TEXT_BYTES = 65_535  # of a text field, and of all dynamic fields of a row
CONSISTENCY = "Strong"
_KEY_CHARACTERS = 40
_KEYS_PER_CALL = 1000
_BYTES_PER_CALL = 16_000_000  # servers accept 64 MB
_ROWS_PER_BLOCK = 4096
_LOAD_S = 600.0


def make_key(*parts: str) -> str:
    """Return the primary key for an id: a digest, because the client does not escape keys in its expressions."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_KEY_CHARACTERS]


class MilvusTable:
    """A collection of a server, opened.

    Args:
        client: a `MilvusClient`.
        address: address of the collection of drawings, for messages.
        name: name of the collection on the server.
    """

    def __init__(self, client: Any, address: MilvusAddress, name: str):
        self.client, self.address, self.name = client, address, name
        self._lock = threading.Lock()  # Milvus Lite does not support writes at the same time

    def exists(self) -> bool:
        """Return whether the collection is on the server."""
        with translate_errors(self.address):
            return bool(self.client.has_collection(self.name, timeout=CALL_S))

    def create(self, fields: Sequence[Mapping[str, Any]], *, dim: int, has_dynamic: bool, mmap: bool) -> None:
        """Create the collection with an index for exact search.

        Args:
            fields: arguments of `add_field` for each field other than the key and the vector.
            dim: number of values of the vector.
            has_dynamic: whether rows have other fields too.
            mmap: keep the fields on disk instead of in memory.
        """
        module = import_pymilvus()
        schema = module.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=has_dynamic)
        types = module.DataType
        schema.add_field(KEY, types.VARCHAR, max_length=_KEY_CHARACTERS, is_primary=True)
        for field in fields:
            schema.add_field(**{**field, "datatype": getattr(types, field["datatype"])})
        schema.add_field(VECTOR, types.FLOAT_VECTOR, dim=dim)
        options: dict[str, Any] = {"properties": {"mmap.enabled": True}} if mmap else {}
        with translate_errors(self.address):
            self.client.create_collection(
                self.name,
                schema=schema,
                index_params=self.make_index("FLAT", {}),
                consistency_level=CONSISTENCY,
                timeout=_LOAD_S,
                **options,
            )

    def drop(self) -> None:
        """Delete the collection."""
        with translate_errors(self.address):
            self.client.drop_collection(self.name, timeout=CALL_S)

    def load(self) -> None:
        """Make the collection searchable; it is not after a server or a build of an index was killed."""
        with translate_errors(self.address):
            state = self.client.get_load_state(self.name, timeout=CALL_S)["state"]
            if getattr(state, "name", str(state)) == "Loaded":
                return
            if not self.client.list_indexes(self.name, timeout=CALL_S):
                self.client.create_index(self.name, self.make_index("FLAT", {}), timeout=_LOAD_S)
            self.client.load_collection(self.name, timeout=_LOAD_S)

    def describe(self) -> dict[str, Any]:
        """Return the description of the server."""
        with translate_errors(self.address):
            return dict(self.client.describe_collection(self.name, timeout=CALL_S))

    def upsert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add or replace rows by key. Rows of up to 16 MB become visible together."""
        size, start = 0, 0
        for number, row in enumerate(rows):
            size += sum(map(_count_bytes, row.values()))
            if size >= _BYTES_PER_CALL or number == len(rows) - 1:
                with self._lock, translate_errors(self.address):
                    self.client.upsert(self.name, [dict(one) for one in rows[start : number + 1]], timeout=CALL_S)
                size, start = 0, number + 1

    def delete(self, keys: Sequence[str]) -> None:
        """Delete rows by key."""
        for start in range(0, len(keys), _KEYS_PER_CALL):
            with self._lock, translate_errors(self.address):
                self.client.delete(self.name, ids=list(keys[start : start + _KEYS_PER_CALL]), timeout=CALL_S)

    def count(self, expression: str) -> int:
        """Return the number of rows that fulfill an expression; "" counts every row."""
        rows = self._query(expression, ["count(*)"])
        return int(rows[0]["count(*)"])

    def get(self, keys: Sequence[str], fields: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows with some keys, in any order."""
        rows = []
        for start in range(0, len(keys), _KEYS_PER_CALL):
            rows += self._query(one_of(KEY, keys[start : start + _KEYS_PER_CALL]), fields)
        return rows

    def scan(self, expression: str, fields: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows that fulfill an expression in blocks, by key."""
        with translate_errors(self.address):
            iterator = self.client.query_iterator(
                self.name,
                batch_size=_ROWS_PER_BLOCK,
                filter=expression or ALWAYS,
                output_fields=[KEY, *fields],
                consistency_level=CONSISTENCY,
                timeout=CALL_S,
            )
            while rows := iterator.next():
                yield [dict(row) for row in rows]
            iterator.close()

    def search(
        self, vector: Any, limit: int, expression: str, *, fields: Sequence[str], options: Mapping[str, Any]
    ) -> list[tuple[float, dict[str, Any]]]:
        """Return the nearest rows with their cosines, nearest first.

        Args:
            vector: float32 array (D,).
            limit: number of rows.
            expression: only rows that fulfill it; "": all.
            fields: of the result.
            options: parameters of the index.
        """
        with translate_errors(self.address):
            found = self.client.search(
                self.name,
                data=[vector],
                anns_field=VECTOR,
                limit=limit,
                filter=expression,
                output_fields=list(fields),
                search_params={"metric_type": "COSINE", "params": dict(options)},
                consistency_level=CONSISTENCY,
                timeout=CALL_S,
            )
        return [(float(hit["distance"]), dict(hit["entity"])) for hit in found[0]]

    def read_index_type(self) -> str:
        """Return the type of the index of the vectors; "" without any."""
        with translate_errors(self.address):
            names = self.client.list_indexes(self.name, field_name=VECTOR, timeout=CALL_S)
            return str(self.client.describe_index(self.name, names[0], timeout=CALL_S)["index_type"]) if names else ""

    def build_index(self, kind: str, params: Mapping[str, int]) -> None:
        """Replace the index of the vectors; searches fail until it is built."""
        with self._lock, translate_errors(self.address):
            self.client.flush(self.name, timeout=_LOAD_S)
            self.client.release_collection(self.name, timeout=CALL_S)
            for name in self.client.list_indexes(self.name, field_name=VECTOR, timeout=CALL_S):
                self.client.drop_index(self.name, name, timeout=CALL_S)
            self.client.create_index(self.name, self.make_index(kind, params), timeout=_LOAD_S)
            self.client.load_collection(self.name, timeout=_LOAD_S)

    def merge_segments(self) -> None:
        """Ask the server to merge small segments and to drop deleted rows, which it does in the background."""
        with self._lock, translate_errors(self.address):
            self.client.flush(self.name, timeout=_LOAD_S)
            self.client.compact(self.name, timeout=CALL_S)

    def make_index(self, kind: str, params: Mapping[str, int]) -> Any:
        """Return the parameters of an index of the vectors."""
        index = self.client.prepare_index_params()
        index.add_index(VECTOR, index_type=kind, metric_type="COSINE", params=dict(params))
        return index

    def _query(self, expression: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        with translate_errors(self.address):
            rows = self.client.query(
                self.name,
                filter=expression,
                output_fields=list(fields),
                consistency_level=CONSISTENCY,
                timeout=CALL_S,
            )
        return [dict(row) for row in rows]


def check_text(value: object, column: str, name: str) -> None:
    """Check that a text fits into a field.

    Args:
        value: a value; others than texts always fit.
        column: its column, for the message.
        name: the id of its row, for the message.

    Raises:
        InputError: the text is too long.
    """
    if isinstance(value, str) and len(value.encode()) > MAX_TEXT_BYTES:
        raise InputError(
            f"{name[:80]}: {column} has {len(value.encode()):,} bytes; a Milvus server stores at most "
            f"{MAX_TEXT_BYTES:,}, so shorten it"
        )


def _count_bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return int(getattr(value, "nbytes", 8))


def find_dim(description: Mapping[str, Any]) -> int:
    """Return the number of values of the vectors of a described collection.

    Raises:
        StorageError: it has no such vectors.
    """
    for field in description["fields"]:
        if field["name"] == VECTOR:
            return int(field["params"]["dim"])
    raise StorageError(f"the collection {description['collection_name']} has no field {VECTOR}; it is not of fastreid")
