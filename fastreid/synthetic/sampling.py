"""Random numbers for objects whose parts can be resampled one at a time, which gives near-duplicate siblings."""

from typing import TypeVar

import numpy as np

from fastreid.utils.seeding import keyed_generator

Option = TypeVar("Option")


class PartRng(np.random.Generator):
    """Keyed generator with a separate generator per part, so that one part can change while the others stay equal.

    Args:
        key: integers and strings that determine all numbers.
        resampled_index: index of the part that gets other numbers; -1: none.

    Attributes:
        num_parts: number of calls of `next_part` so far.
    """

    def __init__(self, *key: int | str, resampled_index: int = -1):
        super().__init__(keyed_generator(*key).bit_generator)
        self._key = key
        self._resampled_index = resampled_index
        self.num_parts = 0

    def next_part(self) -> "PartRng":
        """Return the generator of the next part; it depends only on the key and the index of the part."""
        index, self.num_parts = self.num_parts, self.num_parts + 1
        again = ("again",) if index == self._resampled_index else ()
        return PartRng(*self._key, "part", index, *again)


def choose(rng: np.random.Generator, *options: Option) -> Option:
    """Return one of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def bernoulli(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)


def randint(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a random integer from low to high, both included."""
    return int(rng.integers(low, high + 1))
