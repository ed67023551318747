"""Who matches whom: which rows of the gallery are right for a query, and which do not count."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fastreid.utils.errors import InputError

Ids = Sequence[str] | Sequence[int] | np.ndarray | Tensor

_AT_ONCE = 1 << 20  # drawings of queries' patents: a patent may have thousands, and 8 MiB of them are as quick as more


@dataclass(frozen=True)
class Answers:
    """The right answers of some queries, a row each, filled up with -1 at the end.

    Args:
        matches: int64 (B, M), rows of the gallery that are right, ascending; M is the most that a query has.
        dropped: int64 (B, D), rows that do not count; no row is in both.
    """

    matches: np.ndarray
    dropped: np.ndarray


class Truth:
    """The right answers of a set of queries.

    A row of the gallery with the query's id is a match. Left out, neither right nor wrong, are rows with the same id
    AND the same camera, where cameras are known, and the query's own drawing. The empty word is an unknown id; it
    matches nothing.

    Args:
        query_ids: Q patents' ids, all words or all integers.
        gallery_ids: G ids of the same kind.
        query_cameras: Q integers, or None where cameras are unknown, as for patents.
        gallery_cameras: G integers, or None.
        own_rows: for each query the gallery's row that is the very same drawing, -1 where there is none; or None.

    Attributes:
        query_patents: int64 (Q,), equal where the ids are; -1 for an unknown one.
        gallery_patents: int64 (G,), numbered from 0 without gaps; a drawing with an unknown id is a patent of its own.

    Raises:
        InputError: nothing to score, ids of two kinds, only one side's cameras, a length or a row that does not fit.
    """

    def __init__(
        self,
        query_ids: Ids,
        gallery_ids: Ids,
        *,
        query_cameras: Ids | None = None,
        gallery_cameras: Ids | None = None,
        own_rows: Ids | None = None,
    ):
        queries, gallery = _ids(query_ids, "query ids"), _ids(gallery_ids, "gallery ids")
        if queries.dtype.kind != gallery.dtype.kind:
            raise InputError(
                f"query ids are {queries.dtype} and gallery ids {gallery.dtype}; make both words or integers"
            )
        if (query_cameras is None) != (gallery_cameras is None):
            raise InputError("cameras of only one side were given; give query_cameras and gallery_cameras, or neither")
        self.num_queries, self.num_gallery = len(queries), len(gallery)
        self.gallery_patents, self.query_patents = _numbered(gallery, queries)
        self._by_id = self.gallery_patents.argsort(kind="stable")  # rows of one id together, ascending
        in_order = self.gallery_patents[self._by_id]
        self._starts = in_order.searchsorted(self.query_patents, side="left")
        self._sizes = in_order.searchsorted(self.query_patents, side="right") - self._starts
        self._query_cameras = _numbers(query_cameras, self.num_queries, "query_cameras")
        self._gallery_cameras = _numbers(gallery_cameras, self.num_gallery, "gallery_cameras")
        own = _numbers(own_rows, self.num_queries, "own_rows")
        self._own = np.full(self.num_queries, -1) if own is None else own
        if not ((self._own >= -1) & (self._own < self.num_gallery)).all():
            raise InputError(f"own_rows are rows 0..{self.num_gallery - 1} of the gallery, or -1 for none")

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """The matches of a query and the rows that do not count for it: int64, no row in both."""
        answers = self.answers(np.array([query]))
        return answers.matches[0], answers.dropped[0]

    def answers(self, queries: np.ndarray) -> Answers:
        """The right answers of some queries, int64 (B,), at once."""
        (same, dropped), own = self._same_patent(queries), self._own[queries, None]
        own_elsewhere = np.where((same == own).any(axis=1, keepdims=True), -1, own)
        return Answers(
            _packed(np.where(dropped, -1, same)),
            _packed(np.concatenate([np.where(dropped, same, -1), own_elsewhere], axis=1)),
        )

    def judge(self, queries: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which rows of the gallery, int64 (B, K), are matches of their queries, int64 (B,), and which do not count.

        Returns:
            Two arrays of truth values (B, K); no row is true in both.
        """
        same = self.gallery_patents[rows] == self.query_patents[queries, None]
        dropped = (same & self._is_dropped(queries, rows)) | (rows == self._own[queries, None])
        return same & ~dropped, dropped

    def num_matches(self, queries: np.ndarray) -> np.ndarray:
        """How many matches each of some queries, int64 (B,), has: int64 (B,); memory grows with B alone."""
        found = np.zeros(len(queries), dtype=np.int64)
        step = max(1, _AT_ONCE // max(1, self._sizes[queries].max(initial=0)))
        for start in range(0, len(queries), step):
            same, dropped = self._same_patent(queries[start : start + step])
            found[start : start + step] = ((same >= 0) & ~dropped).sum(axis=1)
        return found

    def num_wrong_pairs(self) -> int:
        """How many pairs of a query and a row of the gallery are neither right nor left out."""
        own_elsewhere = (self._own >= 0) & (self.gallery_patents[self._own] != self.query_patents)
        return self.num_queries * self.num_gallery - int(self._sizes.sum()) - int(own_elsewhere.sum())

    def _same_patent(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the queries' own patents (B, M), filled up with -1, and which of them do not count."""
        sizes = self._sizes[queries, None]
        steps = np.arange(sizes.max(initial=0))
        same = np.where(steps < sizes, self._by_id.take(self._starts[queries, None] + steps, mode="clip"), -1)
        return same, (same >= 0) & self._is_dropped(queries, same)

    def _is_dropped(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether rows (B, K) of the queries' own patents do not count."""
        dropped = rows == self._own[queries, None]
        if self._query_cameras is not None and self._gallery_cameras is not None:
            dropped |= self._gallery_cameras[rows] == self._query_cameras[queries, None]
        return dropped


def _numbered(gallery: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the patents: of the gallery's rows without gaps, of the queries the same, or others, or -1."""
    words, numbers = np.unique(np.concatenate([gallery, queries]), return_inverse=True)
    of_gallery, of_queries = numbers[: len(gallery)], numbers[len(gallery) :]
    if gallery.dtype.kind == "U":
        of_gallery = np.where(gallery == "", len(words) + np.arange(len(gallery)), of_gallery)
    there, of_rows = np.unique(of_gallery, return_inverse=True)
    places = there.searchsorted(of_queries)
    in_gallery = there.take(places, mode="clip") == of_queries
    of_queries = np.where(in_gallery, places, len(there) + of_queries)
    return of_rows, np.where(queries == "", -1, of_queries) if queries.dtype.kind == "U" else of_queries


def _packed(rows: np.ndarray) -> np.ndarray:
    """Padded rows with the -1 at the end, and no more columns than the fullest row needs."""
    there = rows >= 0
    order = np.argsort(~there, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)[:, : there.sum(axis=1).max(initial=0)]


def _ids(values: Ids, what: str) -> np.ndarray:
    array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"{what} are one id a drawing, at least one, not an array of shape {array.shape}")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind not in "iu":
        raise InputError(f"{what} are words or integers, not {array.dtype}")
    return array.astype(np.int64)


def _numbers(values: Ids | None, num: int, what: str) -> np.ndarray | None:
    if values is None:
        return None
    array = _ids(values, what)
    if array.dtype.kind != "i" or len(array) != num:
        raise InputError(f"{what} are {num} integers, not {len(array)} of {array.dtype}")
    return array
