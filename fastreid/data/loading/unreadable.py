"""Training drawings that cannot be read: which of them a run may skip, and which stop it."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from fastreid.data.datasets.base import raise_faults
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import escape_unprintable, format_faults

REPLACED = "another drawing of its patent replaces it"
LEFT_OUT = "left out of the statistics learned from the training drawings"
SKIP_IT = "replace the file, or set INPUT.ON_BAD_IMAGE skip to train without it"
RESTORE_ONE = "restore one of them, or start a new run without this patent"
NEEDS_ALL = "INPUT.ON_BAD_IMAGE skip applies to training only: tests and saved features have a row for every drawing"


class UnreadableDrawingsError(InputError):
    """Drawings that cannot be read and that a run cannot skip, below one heading for each reason."""

    has_headings = True


class UnreadableDrawingError(InputError):
    """A training drawing that cannot be read and that no other one replaces.

    Args:
        fault: one line.
        rows: the unreadable rows of the training list.
    """

    def __init__(self, fault: str, rows: Sequence[int] = ()):
        super().__init__(fault)
        self.rows = tuple(rows)  # kept if a worker sends the error


class UnreadableDrawings:
    """The unreadable training drawings of a run: logs each once and limits their number; shared by all loaders.

    Args:
        max_num: number of drawings that may be skipped.
    """

    def __init__(self, max_num: int):
        self.max_num = max_num
        self._rows: set[int] = set()

    @property
    def rows(self) -> frozenset[int]:
        """Rows of the unreadable drawings so far."""
        return frozenset(self._rows)

    def record(self, skipped: Iterable[tuple[int, str]], *, action: str = REPLACED) -> None:
        """Record skipped drawings; log those that are new.

        Args:
            skipped: (row of the training list, fault) of each drawing.
            action: how the run continues without the drawing, for the log.

        Raises:
            InputError: there are now more than `max_num`.
        """
        for row, fault in skipped:
            if row in self._rows:
                continue
            self._rows.add(row)
            if len(self._rows) > self.max_num:
                raise InputError(
                    f"{fault}; this is unreadable training drawing number {len(self._rows)}, and INPUT.MAX_BAD_IMAGES "
                    f"is {self.max_num}"
                )
            get_logger().warning(f"{fault}; skipped, {action} (INPUT.ON_BAD_IMAGE)")


def check_unreadable(
    faults: Mapping[str, str],
    *,
    needed: Collection[str] = (),
    training: Sequence[Drawing] = (),
    unreadable: UnreadableDrawings | None = None,
) -> None:
    """Raise an error if a run cannot skip all unreadable drawings; otherwise record them.

    Args:
        faults: path of each unreadable drawing -> the reason on one line.
        needed: paths of drawings that must be readable.
        training: training drawings.
        unreadable: records those that are skipped; None: none may be skipped.

    Raises:
        InputError: an unreadable drawing is needed, too many are unreadable, or a patent has no readable drawing; the
            message has all of them.
    """
    if unreadable is None:
        raise_faults(list(faults.values()), "unreadable drawings")
        return
    reasons = unreadable_reasons(faults, needed=needed, training=training, max_num=unreadable.max_num)
    if reasons:
        raise UnreadableDrawingsError("\n".join(format_faults(items, heading) for heading, items in reasons.items()))
    skipped = [(row, faults[drawing.path]) for row, drawing in enumerate(training) if drawing.path in faults]
    unreadable.record(skipped)
    if skipped:
        get_logger().warning(f"unreadable training drawings that are skipped (INPUT.ON_BAD_IMAGE): {len(skipped)}")


def unreadable_reasons(
    faults: Mapping[str, str], *, needed: Collection[str] = (), training: Sequence[Drawing] = (), max_num: int
) -> dict[str, list[str]]:
    """Return the reasons why a run that skips unreadable training drawings fails all the same.

    Args:
        faults, needed, training: as for `check_unreadable`.
        max_num: number of drawings that may be skipped.

    Returns:
        Heading -> faults, one line each; empty if the run can skip all of them.
    """
    skipped = [faults[drawing.path] for drawing in training if drawing.path in faults]
    reasons = {
        f"drawings that must be readable ({NEEDS_ALL})": [fault for path, fault in faults.items() if path in needed],
        "patents without a readable training drawing": _find_unreadable_patents(faults, training),
        f"{len(skipped)} training drawings cannot be read, and INPUT.MAX_BAD_IMAGES is {max_num}": (
            skipped if len(skipped) > max_num else []
        ),
    }
    return {heading: items for heading, items in reasons.items() if items}


def _find_unreadable_patents(faults: Mapping[str, str], training: Sequence[Drawing]) -> list[str]:
    """Return a line for each patent that has training drawings, but none that can be read."""
    paths: dict[str, list[str]] = {}
    for drawing in training:
        paths.setdefault(drawing.patent, []).append(drawing.path)
    return [
        f"{faults[own[0]]}; none of the {len(own)} drawings of its patent {escape_unprintable(patent)} can be read"
        if len(own) > 1
        else f"{faults[own[0]]}; it is the only drawing of its patent {escape_unprintable(patent)}"
        for patent, own in paths.items()
        if all(path in faults for path in own)
    ]
