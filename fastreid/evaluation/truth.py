"""Who matches whom: which rows of the gallery are right for a query, and which do not count."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fastreid.utils.errors import InputError

Ids = Sequence[str] | Sequence[int] | np.ndarray | Tensor


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
        self._by_id = gallery.argsort(kind="stable")  # rows of one id together, ascending
        self._starts = gallery[self._by_id].searchsorted(queries, side="left")
        self._stops = gallery[self._by_id].searchsorted(queries, side="right")
        if queries.dtype.kind == "U":
            self._stops = np.where(queries == "", self._starts, self._stops)
        self._query_cameras = _numbers(query_cameras, self.num_queries, "query_cameras")
        self._gallery_cameras = _numbers(gallery_cameras, self.num_gallery, "gallery_cameras")
        self._own = _numbers(own_rows, self.num_queries, "own_rows")
        if self._own is not None and not ((self._own >= -1) & (self._own < self.num_gallery)).all():
            raise InputError(f"own_rows are rows 0..{self.num_gallery - 1} of the gallery, or -1 for none")

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """The matches of a query and the rows that do not count for it: int64, ascending, no row in both."""
        same = self._by_id[self._starts[query] : self._stops[query]]
        dropped = np.zeros(len(same), dtype=bool)
        if self._query_cameras is not None and self._gallery_cameras is not None:
            dropped = self._gallery_cameras[same] == self._query_cameras[query]
        if self._own is None or self._own[query] < 0:
            return same[~dropped], same[dropped]
        own = self._own[query]
        return same[~dropped & (same != own)], np.union1d(same[dropped], own)


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
