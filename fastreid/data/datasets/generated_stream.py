"""Patents drawn while they are trained on: a list without files, and the reader that draws its pages."""

from collections import OrderedDict

import numpy as np

from fastreid.synthetic import RULES_VERSION, Collection, Patent, make_patent
from fastreid.data.loading.batches import Read
from fastreid.structures import DRAWN, Drawing
from fastreid.utils.errors import InputError

KEPT_PATENTS = 32  # objects a process keeps, since the drawings of a patent come together in a batch


class GeneratedStream:
    """The training patents of `Generated`, each drawing made anew whenever it is asked for; nothing touches the disk.

    A page is grey: what a finer scan reduced to that size would be.

    Args:
        collection: what fixes every drawing; its test patents are not used.
    """

    def __init__(self, collection: Collection):
        self.collection = collection

    def train(self) -> tuple[Drawing, ...]:
        given = self.collection
        kind = f"{given.size_px}/{int(given.disjoint)}/{'+'.join(given.without)}"
        return tuple(
            Drawing(
                f"{DRAWN}{RULES_VERSION}/{given.seed}/{number}/{index}/{kind}",
                name,
                str(number),
                source="GeneratedStream",
            )
            for number in given.train_patents()
            for index, name in enumerate(given.names(number))
        )

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """There is none.

        Raises:
            InputError: always.
        """
        raise InputError("GeneratedStream has no test; set DATASETS.TESTS to Generated or to real drawings")


class DrawingReader:
    """Gives the page of a drawing of `GeneratedStream` by drawing it, and of any other through `read`.

    Args:
        read: for drawings that have a file.
        longest_px: drawn pages are at most so large; 0: as large as their list says.
    """

    def __init__(self, read: Read, *, longest_px: int = 0):
        self.read = read
        self.longest_px = longest_px
        self._patents: OrderedDict[tuple[int, int, bool, str], Patent] = OrderedDict()

    def __call__(self, drawing: Drawing) -> np.ndarray:
        if not drawing.is_synthetic:
            return self.read(drawing)
        *numbers, without = drawing.path.removeprefix(DRAWN).split("/")
        rules, seed, number, index, size_px, disjoint = map(int, numbers)
        if rules != RULES_VERSION:
            raise InputError(f"{drawing.path}: of rules {rules}, and here drawings are made by rules {RULES_VERSION}")
        patent = self._patent(seed, number, disjoint=bool(disjoint), without=without)
        size_px = min(size_px, self.longest_px) if self.longest_px else size_px
        return np.asarray(patent.draw(index, size_px=size_px, grey=True))

    def _patent(self, seed: int, number: int, *, disjoint: bool, without: str) -> Patent:
        key = (seed, number, disjoint, without)
        if key not in self._patents:
            self._patents[key] = make_patent(seed, number, disjoint=disjoint, without=without.split("+"))
        self._patents.move_to_end(key)
        if len(self._patents) > KEPT_PATENTS:
            self._patents.popitem(last=False)
        return self._patents[key]
