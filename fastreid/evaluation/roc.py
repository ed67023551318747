"""True accept rate at a false accept rate, over all pairs of query and gallery, without holding all pairs."""

import numpy as np

FALSE_ACCEPT_RATES = (1e-4, 1e-3, 1e-2)


class AcceptRates:
    """How many right pairs are accepted where at most a share of the wrong ones is.

    A pair is accepted when it is nearer than some threshold. For a false accept rate f, the threshold is the largest
    that accepts at most f of the wrong pairs; the true accept rate is the share of right pairs it accepts. That is
    the highest point of the ROC curve up to f. Of the wrong pairs only the nearest 1 % are held.

    Args:
        num_wrong: how many wrong pairs will be added altogether.
        hold: wrong pairs gathered before the nearest are sorted out.
    """

    def __init__(self, num_wrong: int, *, hold: int = 1 << 20):
        self._hold = hold
        self._allowed = [_most_within(rate, num_wrong) for rate in FALSE_ACCEPT_RATES]
        self._right: list[np.ndarray] = []
        self._wrong = np.empty(0, dtype=np.float32)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    def add(self, right: np.ndarray, wrong: np.ndarray) -> None:
        """Take in distances of right and of wrong pairs."""
        self._right.append(right)
        keep = max(self._allowed) + 1
        if len(self._wrong) >= keep:
            wrong = wrong[wrong < self._wrong[-1]]
        self._waiting.append(wrong)
        self._num_waiting += len(wrong)
        if self._num_waiting > self._hold:
            self._settle()

    def rates(self) -> dict[str, float]:
        """`TPR@FPR=1e-04` and so on: true accept rates, x100."""
        self._settle()
        right = np.concatenate(self._right)
        scores = {}
        for rate, allowed in zip(FALSE_ACCEPT_RATES, self._allowed):
            threshold = self._wrong[allowed] if allowed < len(self._wrong) else np.float32(np.inf)
            scores[f"TPR@FPR={rate:.0e}"] = 100 * float((right < threshold).mean())
        return scores

    def _settle(self) -> None:
        self._wrong = np.sort(np.concatenate([self._wrong, *self._waiting]))[: max(self._allowed) + 1]
        self._waiting, self._num_waiting = [], 0


def _most_within(rate: float, num: int) -> int:
    """The largest count whose share of `num` is at most the rate."""
    count = int(rate * num) + 1
    while count > 0 and count / max(num, 1) > rate:
        count -= 1
    return count
