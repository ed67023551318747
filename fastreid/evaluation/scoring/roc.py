"""True accept rate at a false accept rate, over all pairs of query and gallery, without holding all pairs."""

import math

import numpy as np
from torch import Tensor

from fastreid.evaluation.scoring.ranks import entries

FALSE_ACCEPT_RATES = (1e-4, 1e-3, 1e-2)


class AcceptRates:
    """How many right pairs are accepted where at most a share of the wrong ones is.

    A pair is accepted when it is nearer than some threshold. For a false accept rate f, the threshold is the largest
    that accepts at most f of the wrong pairs; the true accept rate is the share of right pairs it accepts. That is
    the highest point of the ROC curve up to f. Of the wrong pairs only the nearest 1 % are held, and as many that wait
    to be sorted out.

    Args:
        num_wrong: how many wrong pairs will be added altogether.
        hold: wrong pairs gathered, at least, before the nearest are sorted out.
    """

    def __init__(self, num_wrong: int, *, hold: int = 1 << 20):
        self._allowed = [_most_within(rate, num_wrong) for rate in FALSE_ACCEPT_RATES]
        self._keep = max(self._allowed) + 1
        self._hold = max(hold, self._keep)
        self._right: list[np.ndarray] = []
        self._wrong = np.empty(0, dtype=np.float32)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        self._limit = math.inf  # wrong pairs from here on change nothing

    def add(self, distances: Tensor, matches: Tensor, dropped: Tensor) -> None:
        """Take in all pairs of some queries; only those that may count leave the device.

        Args:
            distances: float32 (B, G), no NaN.
            matches: int64 (B, M), the rows that are right, filled up with -1.
            dropped: int64 (B, D), those that do not count, filled up with -1.
        """
        right = entries(matches)
        self._right.append(distances[right].cpu().numpy())
        wrong = distances < self._limit
        wrong[right] = False
        wrong[entries(dropped)] = False
        self._waiting.append(distances[wrong].cpu().numpy())
        self._num_waiting += len(self._waiting[-1])
        if self._num_waiting > self._hold:
            self._settle()

    def rates(self) -> dict[str, float]:
        """`TPR@FPR=1e-04` and so on: true accept rates, x100."""
        self._settle()
        right, wrong = np.concatenate(self._right), np.sort(self._wrong)
        scores = {}
        for name, allowed in zip(accept_names(), self._allowed):
            threshold = wrong[allowed] if allowed < len(wrong) else np.float32(np.inf)
            scores[name] = 100 * float((right < threshold).mean())
        return scores

    def _settle(self) -> None:
        wrong = np.concatenate([self._wrong, *self._waiting])
        if len(wrong) >= self._keep:
            wrong = np.partition(wrong, self._keep - 1)[: self._keep]
            self._limit = float(wrong[-1])
        self._wrong, self._waiting, self._num_waiting = wrong, [], 0


def accept_names() -> tuple[str, ...]:
    """The names of the accept rates, in the order of FALSE_ACCEPT_RATES."""
    return tuple(f"TPR@FPR={rate:.0e}" for rate in FALSE_ACCEPT_RATES)


def _most_within(rate: float, num: int) -> int:
    """The largest count whose share of `num` is at most the rate."""
    count = int(rate * num) + 1
    while count > 0 and count / max(num, 1) > rate:
        count -= 1
    return count
