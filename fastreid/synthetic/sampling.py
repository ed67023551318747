"""Random draws of an object that can be repeated with one part drawn anew: that gives its look-alike sibling."""

from typing import TypeVar

import numpy as np

from fastreid.utils.seeding import keyed_generator

Option = TypeVar("Option")


class PartRng(np.random.Generator):
    """A keyed generator whose parts have generators of their own, so that one part may change and the rest stay.

    Args:
        parts: what the draws are for.
        redrawn: the number of the part that is drawn anew; -1: none.

    Attributes:
        num_parts: how many parts were asked for so far.
    """

    def __init__(self, *parts: int | str, resampled_part: int = -1):
        super().__init__(keyed_generator(*parts).bit_generator)
        self._key = parts
        self._resampled_part = resampled_part
        self.num_parts = 0

    def next_part(self) -> "PartRng":
        """The generator of the next part; it does not depend on what was drawn before, only on how many parts were."""
        number, self.num_parts = self.num_parts, self.num_parts + 1
        again = ("again",) if number == self._resampled_part else ()
        return PartRng(*self._key, "part", number, *again)


def choose(rng: np.random.Generator, *options: Option) -> Option:
    """Return one of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def bernoulli(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the given probability."""
    return bool(rng.random() < probability)


def randint(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a random integer from low to high, both included."""
    return int(rng.integers(low, high + 1))
