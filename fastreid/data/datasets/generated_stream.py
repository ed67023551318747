"""A training set without files, whose pages are rendered when they are read."""

from collections.abc import Callable, Iterable

from fastreid.structures import SYNTHETIC_PREFIX, Drawing
from fastreid.utils.errors import InputError


class GeneratedStream:
    """The training patents of `Generated`, each drawing rendered whenever it is read; nothing is written to disk.

    A page is gray: a finer scan reduced to its size.

    Args:
        list_drawings: returns the address, name and patent id of each drawing in the order of the list; the address
            determines the page.
    """

    def __init__(self, list_drawings: Callable[[], Iterable[tuple[str, str, str]]]):
        self.list_drawings = list_drawings

    def train(self) -> tuple[Drawing, ...]:
        """Return the training drawings."""
        return tuple(
            Drawing(f"{SYNTHETIC_PREFIX}{address}", name, patent, source="GeneratedStream")
            for address, name, patent in self.list_drawings()
        )

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Raise InputError: there is no test set."""
        raise InputError("GeneratedStream has no test set; set DATASETS.TESTS to Generated or to real drawings")
