"""Ground truth of a retrieval test: which gallery rows are relevant to a query, and which are ignored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid.utils.errors import InputError
from fastreid.utils.ids import Ids, to_id_array

_MAX_CHUNK_ENTRIES = 1 << 20  # rows of queries' patents per chunk: 8 MiB; larger chunks are no faster


@dataclass(frozen=True)
class Relevance:
    """The relevant and the ignored gallery rows of a batch of queries, padded with -1 at the end.

    Args:
        matches: int64 (B, M), relevant rows, ascending; M is the largest number of matches of a query.
        ignored: int64 (B, D), rows that count neither as relevant nor as wrong; no row is in both.
    """

    matches: NDArray[np.int64]
    ignored: NDArray[np.int64]


class GroundTruth:
    """Relevant and ignored gallery rows of a set of queries.

    A gallery row with the query's id is a match. Ignored (junk), neither relevant nor wrong, are rows with the same id
    and the same camera, where cameras are known, and the query's own drawing. The empty string is an unknown id and
    matches nothing.

    Args:
        query_ids: Q patent ids, all strings or all integers, in any container that `to_id_array` accepts.
        gallery_ids: G ids of the same type.
        query_cameras: Q integers; None if cameras are unknown, as for patents.
        gallery_cameras: G integers, or None.
        self_rows: for each query the gallery row of the same drawing, -1 if there is none; or None.

    Attributes:
        query_patents: int64 (Q,), equal for equal ids; -1 for an unknown id.
        gallery_patents: int64 (G,), from 0 without gaps; a drawing with an unknown id counts as a separate patent.

    Raises:
        InputError: no ids, ids of two types, cameras of one side only, a wrong length, or a row outside the gallery.
    """

    def __init__(
        self,
        query_ids: Ids,
        gallery_ids: Ids,
        *,
        query_cameras: Ids | None = None,
        gallery_cameras: Ids | None = None,
        self_rows: Ids | None = None,
    ):
        queries, gallery = to_id_array(query_ids, "query_ids"), to_id_array(gallery_ids, "gallery_ids")
        if queries.dtype.kind != gallery.dtype.kind:
            raise InputError(
                f"query_ids are {queries.dtype} and gallery_ids {gallery.dtype}; make both strings or both integers"
            )
        if (query_cameras is None) != (gallery_cameras is None):
            raise InputError("only one side has cameras; give query_cameras and gallery_cameras, or neither")
        self.num_queries, self.num_gallery = len(queries), len(gallery)
        self.gallery_patents, self.query_patents = _encode_ids(gallery, queries)
        self._rows_by_patent = self.gallery_patents.argsort(kind="stable")  # rows of a patent together, ascending
        sorted_patents = self.gallery_patents[self._rows_by_patent]
        self._starts = sorted_patents.searchsorted(self.query_patents, side="left")
        self._sizes = sorted_patents.searchsorted(self.query_patents, side="right") - self._starts
        self._query_cameras = _to_integers(query_cameras, self.num_queries, "query_cameras")
        self._gallery_cameras = _to_integers(gallery_cameras, self.num_gallery, "gallery_cameras")
        rows = _to_integers(self_rows, self.num_queries, "self_rows")
        self._self_rows = np.full(self.num_queries, -1) if rows is None else rows
        if not ((self._self_rows >= -1) & (self._self_rows < self.num_gallery)).all():
            raise InputError(f"self_rows must be gallery rows 0..{self.num_gallery - 1}, or -1 for none")

    def find_relevance(self, queries: NDArray[np.int64]) -> Relevance:
        """Return the matches and the ignored rows of a batch of queries, int64 (B,)."""
        same, ignored = self._same_patent(queries)
        self_rows = self._self_rows[queries, None]
        other_self_rows = np.where((same == self_rows).any(axis=1, keepdims=True), -1, self_rows)
        return Relevance(
            _left_align(np.where(ignored, -1, same)),
            _left_align(np.concatenate([np.where(ignored, same, -1), other_self_rows], axis=1)),
        )

    def classify_rows(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which gallery rows, int64 (B, K), are matches of their queries, int64 (B,), and which are ignored.

        Returns:
            Two boolean arrays (B, K); no row is true in both.
        """
        same = self.gallery_patents[rows] == self.query_patents[queries, None]
        ignored = (same & self._is_ignored(queries, rows)) | (rows == self._self_rows[queries, None])
        return same & ~ignored, ignored

    def count_matches(self, queries: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of matches of each query, int64 (B,); memory grows with B only."""
        counts = np.zeros(len(queries), dtype=np.int64)
        step = max(1, _MAX_CHUNK_ENTRIES // max(1, self._sizes[queries].max(initial=0)))
        for start in range(0, len(queries), step):
            same, ignored = self._same_patent(queries[start : start + step])
            counts[start : start + step] = ((same >= 0) & ~ignored).sum(axis=1)
        return counts

    def count_negative_pairs(self) -> int:
        """Return the number of (query, gallery row) pairs that are neither matches nor ignored."""
        is_other_patent = (self._self_rows >= 0) & (self.gallery_patents[self._self_rows] != self.query_patents)
        return self.num_queries * self.num_gallery - int(self._sizes.sum()) - int(is_other_patent.sum())

    def _same_patent(self, queries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the gallery rows of the queries' patents (B, M), padded with -1, and which of them are ignored."""
        sizes = self._sizes[queries, None]
        steps = np.arange(sizes.max(initial=0))
        rows = self._rows_by_patent.take(self._starts[queries, None] + steps, mode="clip")
        same = np.where(steps < sizes, rows, -1)
        return same, (same >= 0) & self._is_ignored(queries, same)

    def _is_ignored(self, queries: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether rows (B, K) of the queries' own patents are ignored."""
        ignored: NDArray[np.bool_] = rows == self._self_rows[queries, None]
        if self._query_cameras is not None and self._gallery_cameras is not None:
            ignored |= self._gallery_cameras[rows] == self._query_cameras[queries, None]
        return ignored


def _encode_ids(gallery: NDArray[Any], queries: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return patent indices of the gallery rows (from 0 without gaps) and of the queries.

    A query with an id that the gallery lacks has an index beyond those of the gallery; an unknown id is -1.
    """
    distinct, codes = np.unique(np.concatenate([gallery, queries]), return_inverse=True)
    gallery_codes, query_codes = codes[: len(gallery)], codes[len(gallery) :]
    if gallery.dtype.kind == "U":
        gallery_codes = np.where(gallery == "", len(distinct) + np.arange(len(gallery)), gallery_codes)
    present, gallery_patents = np.unique(gallery_codes, return_inverse=True)
    positions = present.searchsorted(query_codes)
    is_in_gallery = present.take(positions, mode="clip") == query_codes
    query_patents = np.where(is_in_gallery, positions, len(present) + query_codes)
    return gallery_patents, np.where(queries == "", -1, query_patents) if queries.dtype.kind == "U" else query_patents


def _left_align(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows with their -1 padding moved to the end, cut to the longest row."""
    is_row = rows >= 0
    order = np.argsort(~is_row, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)[:, : is_row.sum(axis=1).max(initial=0)]


def _to_integers(values: Ids | None, num: int, name: str) -> NDArray[np.int64] | None:
    if values is None:
        return None
    array = to_id_array(values, name)
    if array.dtype.kind != "i" or len(array) != num:
        raise InputError(f"{name} must be {num} integers, not {len(array)} of {array.dtype}")
    return array
