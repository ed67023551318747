"""Search saved queries in the drawings that additions bring, and report each hit once.

The order of the steps, each of which can be the last one before a kill:

1. The ids of a batch of drawings get the mark "new" for the file of queries, before its rows are stored.
2. After the addition, the queries are searched among the drawings with this mark.
3. The caller writes and prints the hits.
4. The hits get the mark "reported".
5. The mark "new" is taken from the drawings.

A kill before 4 repeats 2 and 3 in the next run. A file of hits that leaves out those it already has, such as
`HitFile`, then has each hit once.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastreid.index.columns import SYSTEM_COLUMNS
from fastreid.index.reader import CollectionReader
from fastreid.index.saved_queries import SavedQuery
from fastreid.index.search import Hit
from fastreid.index.side_storage import SideStorage
from fastreid.utils.errors import InputError, describe_unknown

_IDS_PER_SEARCH = 10_000


@dataclass(frozen=True)
class NewHit:
    """A new drawing that a saved query found.

    Args:
        query: name of the query.
        hit: the drawing.
        sha256: of its file; the same drawing with another content is another hit.
    """

    query: str
    hit: Hit
    sha256: str

    @property
    def key(self) -> str:
        """Identifies the hit in the collection and in files."""
        return make_key(self.query, self.hit.id, self.sha256)

    def to_json(self) -> dict[str, Any]:
        """Return the hit with values that JSON has."""
        return {"query": self.query, **self.hit.to_json(), "sha256": self.sha256}


def make_key(query: str, name: str, sha256: str) -> str:
    """Return the identity of the hit of a query, for the drawing with an id and a sha256."""
    return "\n".join((query, name, sha256))


class QueryMonitor:
    """Saved queries, checked and with their features.

    Args:
        queries: the queries.
        name: identifies them for the mark "new", such as the path of their file. Drawings remain new for the queries
            with this name until these have been searched.
    """

    def __init__(self, queries: Sequence[SavedQuery], name: str = ""):
        self.queries = queries
        self._prefix = hashlib.sha256(os.fsencode(name)).hexdigest()[:16] + "\n" if name else ""
        self._features: dict[str, Tensor] = {}

    def prepare(self, collection: CollectionReader) -> None:
        """Check the queries against a collection, and get their features, once: a drawing may be removed later.

        Raises:
            InputError: a filter, a group, an id or a picture is invalid.
        """
        for query in self.queries:
            try:
                self._check(query, collection)
            except InputError as error:
                raise InputError(f"saved query {query.name!r}: {error}")
        for query in self.queries:
            if query.name not in self._features:
                try:
                    self._features[query.name] = _get_features(query, collection)
                except InputError as error:
                    raise InputError(f"saved query {query.name!r}: {error}")

    def mark_new(self, ids: Iterable[str], *, side_data: SideStorage) -> None:
        """Mark drawings as new for these queries."""
        side_data.mark("new", [self._prefix + one for one in ids])

    def confirm_hits(self, hits: Iterable[NewHit], side_data: SideStorage) -> None:
        """Remember that hits were reported, and that all drawings that were new for these queries were searched."""
        side_data.mark("reported", [one.key for one in hits])
        side_data.unmark("new", [mark for marks in self._find_marks(side_data).values() for mark in marks])

    def _find_marks(self, side_data: SideStorage) -> dict[str, list[str]]:
        """Return the marks of the drawings that are new for these queries, by id.

        Marks without a name are of queries without one, or of an earlier version: they are those of any queries.
        """
        marks: dict[str, list[str]] = {}
        for mark in side_data.list_marked("new"):
            prefix, newline, one = mark.rpartition("\n")
            if prefix + newline in ("", self._prefix):
                marks.setdefault(one, []).append(mark)
        return marks

    def find_hits(self, collection: CollectionReader, side_data: SideStorage) -> list[NewHit]:
        """Return the hits among the drawings that are new for these queries, best first for each query.

        Args:
            collection: to search in.
            side_data: has the marks.
        """
        marked = self._find_marks(side_data)
        if not marked or not self.queries:
            return []
        rows = (row for block in collection.scan(["id", "sha256"]) for row in block if row["id"] in marked)
        states = {str(row["id"]): str(row["sha256"] or "") for row in sorted(rows, key=lambda row: str(row["id"]))}
        reported = side_data.list_marked("reported")
        found = []
        for query in self.queries:
            # Hits that were reported before do not count for `k`, but no other drawing of their group is reported.
            num_reported = sum(make_key(query.name, *state) in reported for state in states.items())
            hits = self._search(query, list(states), collection, k=query.k + num_reported)
            new_hits = (NewHit(query.name, hit, states[hit.id]) for hit in hits)
            found += [one for one in new_hits if one.key not in reported][: query.k]
        return found

    def _search(self, query: SavedQuery, new: Sequence[str], collection: CollectionReader, *, k: int) -> list[Hit]:
        parts: list[Hit] = []
        new = [name for name in new if name not in query.ids]
        for start in range(0, len(new), _IDS_PER_SEARCH):
            parts += collection.search(
                features=self._features[query.name],
                k=k,
                where=query.filter,
                group=query.group,
                min_score=query.min_score,
                among=new[start : start + _IDS_PER_SEARCH],
            )
        parts.sort(key=lambda hit: (hit.distance, hit.id))
        best = {_make_group(hit, query.group): hit for hit in reversed(parts)}
        hits = [hit for hit in parts if best[_make_group(hit, query.group)] is hit]
        probable = (hit for hit in hits if not query.min_probability or (hit.probability or 0) >= query.min_probability)
        return list(probable)[:k]

    def _check(self, query: SavedQuery, collection: CollectionReader) -> None:
        collection.check_filter(query.filter)
        if query.name not in self._features:
            collection.get(query.ids)
        allowed = [name for name in collection.columns() if name not in SYSTEM_COLUMNS]
        if query.group is not None and query.group not in allowed:
            raise InputError(describe_unknown("the column of group", query.group, allowed))
        if query.min_probability and not collection.has_probabilities():
            raise InputError(
                "min_probability needs a model with a calibration (`fastreid models calibrate`); give min_score"
            )


def _get_features(query: SavedQuery, collection: CollectionReader) -> Tensor:
    parts = [collection.read_features(query.ids)]
    if query.pictures:
        parts.append(collection.embedder.embed_pictures(query.pictures))
    return torch.cat(parts)


def _make_group(hit: Hit, column: str | None) -> tuple[str, Any]:
    value = None if column is None else hit.patent if column == "patent" else hit.metadata.get(column)
    return ("id", hit.id) if value is None else ("group", value)
