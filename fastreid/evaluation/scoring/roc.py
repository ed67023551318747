"""True positive rate at fixed false positive rates over all (query, gallery) pairs, without storing all pairs."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid.evaluation.scoring.ranks import list_entries

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)


class TprAtFpr:
    """Accumulates the true positive rate at each of FALSE_POSITIVE_RATES.

    A pair is accepted if its distance is below a threshold. For a false positive rate f, the threshold is the largest
    that accepts at most the share f of the negative pairs; the true positive rate is the share of positive pairs that
    it accepts. This is the highest point of the ROC curve up to f. Only the nearest 1 % of the negative pairs are
    stored, and up to the same number in a buffer.

    Args:
        num_negatives: total number of negative pairs that will be added.
        buffer_size: minimum number of buffered negative pairs before the nearest are selected.
    """

    def __init__(self, num_negatives: int, *, buffer_size: int = 1 << 20):
        self._max_accepted = [_max_count_within(rate, num_negatives) for rate in FALSE_POSITIVE_RATES]
        self._num_kept = max(self._max_accepted) + 1
        self._buffer_size = max(buffer_size, self._num_kept)
        self._positives: list[NDArray[np.float32]] = []
        self._negatives: NDArray[Any] = np.empty(0, dtype=np.float32)
        self._buffer: list[NDArray[np.float32]] = []
        self._num_buffered = 0
        self._limit = math.inf  # farther negative pairs cannot change the result

    def add(self, distances: Tensor, matches: Tensor, ignored: Tensor) -> None:
        """Add all pairs of a batch of queries; only pairs that may matter are copied from the device.

        Args:
            distances: float32 (B, G), without NaN.
            matches: int64 (B, M), relevant rows, padded with -1.
            ignored: int64 (B, D), ignored rows, padded with -1.
        """
        positives = list_entries(matches)
        self._positives.append(distances[positives].cpu().numpy())
        is_negative = distances < self._limit
        is_negative[positives] = False
        is_negative[list_entries(ignored)] = False
        self._buffer.append(distances[is_negative].cpu().numpy())
        self._num_buffered += len(self._buffer[-1])
        if self._num_buffered > self._buffer_size:
            self._flush_buffer()

    def compute(self) -> dict[str, float]:
        """Return the true positive rates, x100, under the names of `tpr_names`."""
        self._flush_buffer()
        positives, negatives = np.concatenate(self._positives), np.sort(self._negatives)
        scores = {}
        for name, num_accepted in zip(tpr_names(), self._max_accepted):
            threshold = negatives[num_accepted] if num_accepted < len(negatives) else np.float32(np.inf)
            scores[name] = 100 * float((positives < threshold).mean())
        return scores

    def _flush_buffer(self) -> None:
        negatives = np.concatenate([self._negatives, *self._buffer])
        if len(negatives) >= self._num_kept:
            negatives = np.partition(negatives, self._num_kept - 1)[: self._num_kept]
            self._limit = float(negatives[-1])
        self._negatives, self._buffer, self._num_buffered = negatives, [], 0


def tpr_names() -> tuple[str, ...]:
    """Return the names of the true positive rates, such as "TPR@FPR=1e-04", in the order of FALSE_POSITIVE_RATES."""
    return tuple(f"TPR@FPR={rate:.0e}" for rate in FALSE_POSITIVE_RATES)


def _max_count_within(rate: float, num: int) -> int:
    """Return the largest count of which the share of `num` does not exceed the rate."""
    count = int(rate * num) + 1
    while count > 0 and count / max(num, 1) > rate:
        count -= 1
    return count
