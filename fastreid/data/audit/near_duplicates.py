"""Which pages look alike: groups of fingerprints that differ in few bits."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from fastreid.utils.errors import EnvironmentSetupError

# On ../shared/data/uspto_design (589 sheets): 94 % of the sheets differ in no more from themselves made smaller by a quarter,
# moved and saved as JPEG of quality 70 (83 % in 16); the nearest two sheets of different patents differ in 42.
MOST_BITS = 24

_AT_ONCE = 4096  # fingerprints searched for together, so that what is found fits in memory


def groups_alike(fingerprints: np.ndarray, *, most_bits: int = MOST_BITS) -> list[list[int]]:
    """Rows that are joined by steps of at most `most_bits` bits, each group and their list ascending; none alone.

    Args:
        fingerprints: uint8 (N, B).
        most_bits: by which two neighbours in a group may differ.

    Raises:
        EnvironmentSetupError: without the package faiss-cpu.
    """
    try:
        import faiss
    except ImportError:
        raise EnvironmentSetupError("pages that look alike are found with the package faiss-cpu: pip install faiss-cpu")
    if not len(fingerprints):
        return []
    different, kinds = np.unique(fingerprints, axis=0, return_inverse=True)
    index = faiss.IndexBinaryFlat(8 * fingerprints.shape[1])
    index.add(different)
    pairs = []
    for start in range(0, len(different), _AT_ONCE):
        part = different[start : start + _AT_ONCE]
        ends, _, found = index.range_search(part, most_bits + 1)  # faiss takes what is below the radius
        pairs.append((start + np.repeat(np.arange(len(part)), np.diff(ends).astype(int)), found))
    rows, columns = (np.concatenate(side) for side in zip(*pairs))
    joined = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(different),) * 2)
    _, labels = sparse.csgraph.connected_components(joined, directed=False)
    return _groups(labels[kinds.ravel()])


def equal_groups(words: Sequence[str]) -> list[list[int]]:
    """Rows whose words are equal, as `groups_alike` gives them; an empty word equals none."""
    rows = [row for row, word in enumerate(words) if word]
    if not rows:
        return []
    _, labels = np.unique([words[row] for row in rows], return_inverse=True)
    return [[rows[place] for place in group] for group in _groups(labels)]


def _groups(labels: np.ndarray) -> list[list[int]]:
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return sorted(part.tolist() for part in np.split(order, starts) if len(part) > 1)
