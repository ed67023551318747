"""Results that are computed once for several requests, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

_V = TypeVar("_V")


class BoundedCache(Generic[_V]):
    """The values that were used last, up to a number of bytes.

    Args:
        max_bytes: of all values; a larger one is not stored.
    """

    def __init__(self, max_bytes: int):
        self._max_bytes, self._num_bytes = max_bytes, 0
        self._values: OrderedDict[Hashable, tuple[_V, int]] = OrderedDict()

    def get(self, key: Hashable) -> _V | None:
        """Return a value, None if it is not stored."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: _V, *, num_bytes: int) -> None:
        """Store a value and remove those that were not used for longest."""
        self._num_bytes -= self._values.pop(key, (None, 0))[1]
        if num_bytes > self._max_bytes:
            return
        self._values[key] = value, num_bytes
        self._num_bytes += num_bytes
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= self._values.popitem(last=False)[1][1]
