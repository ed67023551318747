"""Single drawings of a collection by address, for rendering without a folder."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastreid.synthetic.collection import RULES_VERSION, Collection
from fastreid.synthetic.patent import Patent, make_patent
from fastreid.utils.errors import InputError

MAX_CACHED_PATENTS = 32  # per process; the drawings of a patent are neighbors in a batch


def list_drawings(collection: Collection) -> Iterator[tuple[str, str, str]]:
    """Yield the address, name and patent id of each training drawing of a collection.

    The address determines the page: version of the rules, seed, number of the patent, index of the drawing, longest
    side in px, whether training and test families are disjoint, and the excluded sources of variety.
    """
    options = f"{collection.size_px}/{int(collection.disjoint)}/{'+'.join(collection.exclude)}"
    for number in collection.train_patents():
        for index, name in enumerate(collection.drawing_names(number)):
            yield f"{RULES_VERSION}/{collection.seed}/{number}/{index}/{options}", name, str(number)


class StreamRenderer:
    """Render drawings by address; keep the last MAX_CACHED_PATENTS patents."""

    def __init__(self) -> None:
        self._patents: OrderedDict[tuple[int, int, bool, str], Patent] = OrderedDict()

    def __call__(self, address: str, longest_px: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the page of a drawing, uint8 (H, W).

        Args:
            address: as in `list_drawings`.
            longest_px: upper limit of the longest side; 0: none.

        Raises:
            InputError: the address belongs to another version of the rules.
        """
        *numbers, exclude = address.split("/")
        version, seed, number, index, size_px, disjoint = map(int, numbers)
        if version != RULES_VERSION:
            raise InputError(f"synthetic drawing {address}: has rules {version}; this version renders {RULES_VERSION}")
        patent = self._get_patent(seed, number, disjoint=bool(disjoint), exclude=exclude)
        size_px = min(size_px, longest_px) if longest_px else size_px
        return np.asarray(patent.render(index, size_px=size_px, gray=True))

    def _get_patent(self, seed: int, number: int, *, disjoint: bool, exclude: str) -> Patent:
        key = (seed, number, disjoint, exclude)
        if key not in self._patents:
            self._patents[key] = make_patent(seed, number, disjoint=disjoint, exclude=exclude.split("+"))
        self._patents.move_to_end(key)
        if len(self._patents) > MAX_CACHED_PATENTS:
            self._patents.popitem(last=False)
        return self._patents[key]
