"""What becomes of training drawings that cannot be read, where a run is told to go on without them."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from fastreid.data.datasets.base import refuse, told
from fastreid.data.io.messages import one_line
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

STANDS_IN = "another drawing of its patent stands in"
LEFT_OUT = "left out of what is learnt from the training drawings"
NEEDS_ALL = (
    "INPUT.ON_BAD_IMAGE skip is for training: a test and saved features have a row for every drawing of the list"
)


class BadDrawings:
    """Tells of each training drawing that cannot be read, once, and stops at too many; one for all loaders of a run.

    Args:
        max_num: so many are passed over.
    """

    def __init__(self, max_num: int):
        self.max_num = max_num
        self._known: set[int] = set()

    def note(self, passed_over: Iterable[tuple[int, str]], *, instead: str = STANDS_IN) -> None:
        """Take note of (row, fault) pairs, rows of the training list.

        Args:
            passed_over: those that were met.
            instead: what is done without them, for the log.

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
            get_logger().warning(f"{fault}; passed over, {instead} (INPUT.ON_BAD_IMAGE)")


def sort_out(
    faults: Mapping[str, str],
    *,
    needed: Collection[str] = (),
    training: Sequence[Drawing] = (),
    bad: BadDrawings | None = None,
) -> None:
    """Refuse what a run cannot do without of the drawings that cannot be read, and take note of the others.

    Args:
        faults: path to why its drawing cannot be read, in one line.
        needed: paths of drawings that all must be read.
        training: drawings to train on.
        bad: takes note of those of them; None: none may be passed over.

    Raises:
        InputError: there are such, too many of them, or a patent has no other; all is told at once.
    """
    if bad is None:
        refuse(list(faults.values()), "the drawings")
        return
    refusals = too_bad(faults, needed=needed, training=training, max_num=bad.max_num)
    if refusals:
        raise InputError("; ".join(refusals))
    passed_over = [(row, faults[drawing.path]) for row, drawing in enumerate(training) if drawing.path in faults]
    bad.note(passed_over)
    if passed_over:
        get_logger().warning(
            f"training drawings that cannot be read and are passed over (INPUT.ON_BAD_IMAGE): {len(passed_over)}"
        )


def too_bad(
    faults: Mapping[str, str], *, needed: Collection[str] = (), training: Sequence[Drawing] = (), max_num: int
) -> list[str]:
    """Why a run that passes over bad training drawings would be refused all the same, a line each; empty if it would not.

    Args:
        faults, needed, training: as for `sort_out`.
        max_num: so many may be passed over.
    """
    passed_over = [faults[drawing.path] for drawing in training if drawing.path in faults]
    of_tests = told([fault for path, fault in faults.items() if path in needed], "drawings that must be read")
    too_many = told(passed_over if len(passed_over) > max_num else [], "training drawings")
    refusals = [
        f"{of_tests}; {NEEDS_ALL}" if of_tests else "",
        told(_patents_without_any(faults, training), "patents to train on"),
        f"{too_many}; {len(passed_over)} cannot be read, and INPUT.MAX_BAD_IMAGES is {max_num}" if too_many else "",
    ]
    return [words for words in refusals if words]


def _patents_without_any(faults: Mapping[str, str], training: Sequence[Drawing]) -> list[str]:
    """A line for each patent that has drawings to train on and none that can be read."""
    paths: dict[str, list[str]] = {}
    for drawing in training:
        paths.setdefault(drawing.patent, []).append(drawing.path)
    return [
        f"{faults[own[0]]}; nor can any of the {len(own)} drawings of its patent {one_line(patent)} be read"
        if len(own) > 1
        else f"{faults[own[0]]}; it is the only drawing of its patent {one_line(patent)}"
        for patent, own in paths.items()
        if all(path in faults for path in own)
    ]
