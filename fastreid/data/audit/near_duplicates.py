"""Group near-duplicate pages by their fingerprints."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from fastreid.data.io.image import Array
from fastreid.utils.errors import EnvironmentSetupError

# On ../shared/data/uspto_design (589 sheets): 94 % of the sheets differ by at most this from a copy that is reduced by
# a quarter, shifted and saved as JPEG of quality 70 (83 % by at most 16). The nearest sheets of two patents differ by
# 42.
MAX_BITS = 24

_CHUNK = 4096  # fingerprints per search, so that the results fit in memory


def group_near_duplicates(fingerprints: Array, *, max_bits: int = MAX_BITS) -> list[list[int]]:
    """Return groups of rows connected by steps of at most `max_bits` bits; rows and groups ascend, singles are omitted.

    Args:
        fingerprints: uint8 (N, B).
        max_bits: largest difference of two neighbors in a group.

    Raises:
        EnvironmentSetupError: the package faiss-cpu is missing.
    """
    try:
        import faiss
    except ImportError:
        raise EnvironmentSetupError("finding similar pages needs the package faiss-cpu: pip install faiss-cpu")
    if not len(fingerprints):
        return []
    distinct, distinct_rows = np.unique(fingerprints, axis=0, return_inverse=True)
    index = faiss.IndexBinaryFlat(8 * fingerprints.shape[1])
    index.add(distinct)
    pairs = []
    for start in range(0, len(distinct), _CHUNK):
        part = distinct[start : start + _CHUNK]
        ends, _, neighbors = index.range_search(part, max_bits + 1)  # the radius is exclusive
        pairs.append((start + np.repeat(np.arange(len(part)), np.diff(ends).astype(int)), neighbors))
    rows, columns = (np.concatenate(side) for side in zip(*pairs))
    edges = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(distinct),) * 2)
    _, labels = sparse.csgraph.connected_components(edges, directed=False)
    return _group_labels(labels[distinct_rows.ravel()])


def group_equal(texts: Sequence[str]) -> list[list[int]]:
    """Return groups of rows with equal texts, as `group_near_duplicates`; empty texts are omitted."""
    rows = [row for row, text in enumerate(texts) if text]
    if not rows:
        return []
    _, labels = np.unique([texts[row] for row in rows], return_inverse=True)
    return [[rows[index] for index in group] for group in _group_labels(labels)]


def _group_labels(labels: Array) -> list[list[int]]:
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return sorted(part.tolist() for part in np.split(order, starts) if len(part) > 1)
