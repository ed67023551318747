"""Random draws of an object that can be repeated with one part drawn anew: that gives its look-alike sibling."""

import numpy as np

from fastreid.utils.seeding import keyed_generator


class Draws(np.random.Generator):
    """A keyed generator whose parts have generators of their own, so that one part may change and the rest stay.

    Args:
        parts: what the draws are for.
        redrawn: the number of the part that is drawn anew; -1: none.

    Attributes:
        num_parts: how many parts were asked for so far.
    """

    def __init__(self, *parts: int | str, redrawn: int = -1):
        super().__init__(keyed_generator(*parts).bit_generator)
        self._key = parts
        self._redrawn = redrawn
        self.num_parts = 0

    def part(self) -> "Draws":
        """The generator of the next part; it does not depend on what was drawn before, only on how many parts were."""
        number, self.num_parts = self.num_parts, self.num_parts + 1
        again = ("again",) if number == self._redrawn else ()
        return Draws(*self._key, "part", number, *again)
