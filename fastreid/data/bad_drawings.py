"""What becomes of training drawings that cannot be read, where a run is told to go on without them."""

from collections.abc import Iterable

from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger


class BadDrawings:
    """Tells of each training drawing that cannot be read, once, and stops at too many.

    Args:
        max_num: so many are passed over.
    """

    def __init__(self, max_num: int):
        self.max_num = max_num
        self._known: set[int] = set()

    def note(self, passed_over: Iterable[tuple[int, str]]) -> None:
        """Take note of (row, fault) pairs.

        Raises:
            InputError: there are more than `max_num` by now.
        """
        for row, fault in passed_over:
            if row in self._known:
                continue
            self._known.add(row)
            if len(self._known) > self.max_num:
                raise InputError(
                    f"{fault}; it is training drawing {len(self._known)} that cannot be read, and INPUT.MAX_BAD_IMAGES is "
                    f"{self.max_num}"
                )
            get_logger().warning(f"{fault}; passed over, another drawing of its patent stands in (INPUT.ON_BAD_IMAGE)")
