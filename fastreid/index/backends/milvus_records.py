"""Data of a collection other than its drawings, in a second collection of the server, which all machines share.

A record has a kind and a name: texts such as `collection.json`, thumbnails, marks of drawings and hits, and the claims
of processes that change the collection.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from fastreid.index.backends.milvus_client import MilvusAddress
from fastreid.index.backends.milvus_expr import KEY, quote_value
from fastreid.index.backends.milvus_table import MAX_TEXT_BYTES, MilvusTable, check_text, make_key
from fastreid.index.columns import VECTOR
from fastreid.index.side_storage import Mark

SUFFIX = "_fastreid"  # of the name of the collection
_FIELDS = ("kind", "name", "content")
_PART_CHARACTERS = 16_000  # of a text; at most 4 bytes each
_DUMMY = [1.0, 0.0]  # a collection must have a vector


class MilvusRecords:
    """The records of a collection.

    Args:
        client: a `MilvusClient`.
        address: address of the collection.
    """

    def __init__(self, client: Any, address: MilvusAddress):
        self.table = MilvusTable(client, address, address.collection + SUFFIX)

    def create(self) -> None:
        """Create the collection of the records."""
        fields = [
            {"field_name": "kind", "datatype": "VARCHAR", "max_length": 32},
            {"field_name": "name", "datatype": "VARCHAR", "max_length": MAX_TEXT_BYTES},
            {"field_name": "content", "datatype": "VARCHAR", "max_length": MAX_TEXT_BYTES},
        ]
        self.table.create(fields, dim=len(_DUMMY), has_dynamic=False, mmap=True)

    def write(self, kind: str, contents: Mapping[str, str]) -> None:
        """Store records by name, and replace those of the same names."""
        rows = []
        for name, content in contents.items():
            check_text(name, "id", name)
            check_text(content, kind, name)
            key = make_key(kind, name)
            rows.append({KEY: key, "kind": kind, "name": name, "content": content, VECTOR: _DUMMY})
        self.table.upsert(rows)

    def read(self, kind: str, name: str) -> str | None:
        """Return the content of a record, or None."""
        rows = self.table.get([make_key(kind, name)], ["content"])
        return str(rows[0]["content"]) if rows else None

    def read_all(self, kind: str) -> dict[str, str]:
        """Return all records of a kind by name."""
        return dict(self._scan(kind, _FIELDS[1:]))

    def list_names(self, kind: str) -> set[str]:
        """Return the names of the records of a kind."""
        return {name for name, _ in self._scan(kind, _FIELDS[1:2])}

    def delete(self, kind: str, names: Iterable[str]) -> None:
        """Delete records by name."""
        self.table.delete([make_key(kind, name) for name in names])

    def store_text(self, name: str, text: str) -> None:
        """Store a text of any length under a name, in parts that become visible together."""
        starts = range(0, max(len(text), 1), _PART_CHARACTERS)
        parts = {f"{name}/{number}": text[start : start + _PART_CHARACTERS] for number, start in enumerate(starts)}
        self.write("text", {f"{name}/length": str(len(text)), **parts})

    def load_text(self, name: str) -> str | None:
        """Return the text of a name, or None; a text that is written at the same time can be torn."""
        length = self.read("text", f"{name}/length")
        if length is None:
            return None
        names = [f"{name}/{number}" for number in range(max(1, -(-int(length) // _PART_CHARACTERS)))]
        rows = self.table.get([make_key("text", part) for part in names], ["name", "content"])
        parts = {row["name"]: row["content"] for row in rows}
        return "".join(parts.get(part, "") for part in names)

    def delete_text(self, name: str) -> None:
        """Delete the text of a name."""
        self.delete("text", [f"{name}/length"])  # the other parts are replaced by the next text

    def _scan(self, kind: str, fields: Iterable[str]) -> Iterable[tuple[str, str]]:
        for block in self.table.scan(f"kind == {quote_value(kind)}", list(fields)):
            for row in block:
                yield str(row["name"]), str(row.get("content", ""))


class MilvusSideData:
    """Thumbnails, and marks of drawings and hits; like `SideData`.

    Args:
        records: the records of the collection.
    """

    def __init__(self, records: MilvusRecords):
        self._records = records

    def write_thumbnails(self, thumbnails: Mapping[str, bytes]) -> None:
        """Store thumbnails by id."""
        self._records.write("thumbnail", {name: base64.b64encode(image).decode() for name, image in thumbnails.items()})

    def read_thumbnail(self, name: str) -> bytes | None:
        """Return the thumbnail of an id, or None."""
        content = self._records.read("thumbnail", name)
        return None if content is None else base64.b64decode(content)

    def list_thumbnails(self) -> set[str]:
        """Return the ids that have a thumbnail."""
        return self._records.list_names("thumbnail")

    def delete_thumbnails(self, names: Iterable[str]) -> None:
        """Delete the thumbnails of some ids."""
        self._records.delete("thumbnail", names)

    def mark(self, mark: Mark, names: Iterable[str]) -> None:
        """Give a mark to some ids."""
        self._records.write(mark, dict.fromkeys(names, ""))

    def unmark(self, mark: Mark, names: Iterable[str]) -> None:
        """Take a mark from some ids."""
        marked = self.list_marked(mark)  # few, so that most names need no call
        self._records.delete(mark, [name for name in names if name in marked])

    def list_marked(self, mark: Mark) -> set[str]:
        """Return the ids that have a mark."""
        return self._records.list_names(mark)

    def vacuum(self) -> None:
        """Ask the server to free the space of deleted thumbnails."""
        self._records.table.merge_segments()
