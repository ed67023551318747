"""The inner step of scoring: at which place each of some rows stands. In numpy, or in Cython where that was built."""

from collections.abc import Callable

import numpy as np
import torch

from fastreid.evaluation import order
from fastreid.utils.logger import get_logger

Ranker = Callable[[np.ndarray, np.ndarray], np.ndarray]


def places_by_numpy(distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The places, from 1, at which rows stand when all are ordered by distance and equal distances by row.

    Args:
        distances: float32 (G,) of one query, no NaN.
        rows: int64 (P,), different rows of the gallery.

    Returns:
        int64 (P,), in the order of `rows`.
    """
    keys = order.encode(torch.from_numpy(distances), torch.arange(len(distances))).numpy()
    mine = keys[rows].argsort()
    # Every row falls just before the first of mine that is not nearer; so the sums count what stands up to each.
    stretches = keys[rows][mine].searchsorted(keys)
    places = np.empty(len(rows), dtype=np.int64)
    places[mine] = np.bincount(stretches, minlength=len(rows) + 1)[:-1].cumsum()
    return places


def choose_ranker() -> Ranker:
    """The Cython ranker if `setup.py` built it, else the numpy one: the same places either way."""
    try:
        from fastreid.evaluation.rank_cy import places
    except ImportError:
        get_logger().debug("the Cython ranker is not built; scoring with numpy, the numbers are the same")
        return places_by_numpy
    return places
