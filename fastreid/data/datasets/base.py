"""Dataset interface and image list reader."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastreid.data.datasets.list_lines import NOT_AN_INTEGER, UNKNOWN_ID, read_entries
from fastreid.data.datasets.list_paths import ABSOLUTE, NO_FILE, PathResolver
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.text import escape_unprintable, format_faults

_KINDS_MERGED = (NOT_AN_INTEGER, f" {ABSOLUTE};", f": {NO_FILE} ")


@dataclass(frozen=True)
class RetrievalData:
    """The drawings of one dataset.

    Args:
        name: of the dataset in the config.
        train: training drawings; empty if only the test set was requested.
        queries: drawings to search for.
        gallery: drawings to search in.

    Raises:
        InputError: the queries or the gallery are empty.
    """

    name: str
    train: tuple[Drawing, ...]
    queries: tuple[Drawing, ...]
    gallery: tuple[Drawing, ...]

    def __post_init__(self) -> None:
        for part, drawings in (("query", self.queries), ("gallery", self.gallery)):
            if not drawings:
                raise InputError(
                    f"{self.name}: the {part} list is empty; a test needs at least one drawing in each list"
                )


class InvalidListError(InputError):
    """All faults of one or more lists or folders.

    The message has the first 20 faults of each list and their total.

    Args:
        faults: list or folder -> its faults, at least one.
        valid: for each requested list the drawings of its valid lines; empty if these are unknown.
    """

    has_headings = True

    def __init__(self, faults: Mapping[str, Sequence[str]], valid: Sequence[tuple[Drawing, ...]] = ()):
        super().__init__(
            "\n".join(
                format_faults(items, where) if len(items) > 1 else escape_unprintable(add_list_path(where, *items))
                for where, items in faults.items()
            )
        )
        self.faults = {where: tuple(items) for where, items in faults.items()}
        self.valid = tuple(valid)


class Dataset(Protocol):
    """A folder or lists of drawings; each part is read only when requested."""

    def train(self) -> tuple[Drawing, ...]:
        """Return the training drawings."""

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""


def add_list_path(where: str, fault: str) -> str:
    """Return a fault that starts with the path of its list; a fault of a line starts with the name of the file.

    Args:
        where: path of the list, or another place.
        fault: one line, such as `a.csv:3: ...`.
    """
    name = Path(where).name
    return f"{where}{fault.removeprefix(name)}" if name and fault.startswith(f"{name}:") else f"{where}: {fault}"


def encode_labels(drawings: Sequence[Drawing]) -> tuple[list[int], tuple[str, ...]]:
    """Return the label of each drawing, and the patent ids in the order of their labels.

    The ids are sorted as text ("10" before "2"), as in fast-reid, so that the classifiers of its checkpoints keep
    their meaning.
    """
    patents = tuple(sorted({drawing.patent for drawing in drawings}))
    labels = {patent: label for label, patent in enumerate(patents)}
    return [labels[drawing.patent] for drawing in drawings], patents


def read_list(
    path: str | Path, *, images: Path | Sequence[Path], with_ids: bool, for_training: bool = False
) -> tuple[Drawing, ...]:
    """Read an image list: a text file with `relative/path.png id` per line, or a CSV file with columns path and id.

    In a text file the id is the last field, an integer; the path may contain spaces. A CSV file has a header, commas,
    semicolons or tabs between its fields, ids of any text, and optionally a column `camera`. The id -1 is unknown.
    Blank lines, CRLF, a byte-order mark (also of UTF-16) and a missing final newline are allowed. A path may be the
    address of a page in a TIFF or PDF, "a.tif#page=2". All faults are reported together.

    Args:
        path: the list; a name ending in .csv is read as CSV.
        images: the folder the paths are relative to, or several: the first that contains the file is used.
        with_ids: the list has ids. Otherwise a line of a text file is a path, and the patent id is "".
        for_training: unknown ids are faults.

    Raises:
        InputError: the list cannot be read.
        InvalidListError: the list is empty; its header has other columns; a line has a wrong number of fields, an id
            that is not an integer or contains control characters, a path outside the folder, a repeated path, or a
            missing file.
    """
    path = Path(path)
    faults: list[str] = []
    resolver = PathResolver([images] if isinstance(images, Path) else list(images))
    drawings: dict[str, Drawing] = {}
    by_path: dict[str, Drawing] = {}
    for line, name, patent, camera in read_entries(path, with_ids=with_ids, faults=faults):
        source = f"{path.name}:{line}"
        try:
            drawing = Drawing(resolver.resolve(name), name, patent, camera, source)
        except InputError as error:
            faults.append(f"{source}: {error}")
            continue
        earlier = drawings.get(name) or by_path.get(drawing.path)
        if earlier is not None and _has_same_letters(earlier.name, name):
            ids = (earlier.patent or UNKNOWN_ID, patent or UNKNOWN_ID)
            conflict = f" with ids {ids[0]} and {ids[1]}" if ids[0] != ids[1] else ""
            faults.append(f"{source}: {name} is also in line {earlier.source.rsplit(':', 1)[1]}{conflict}")
        elif for_training and with_ids and not patent:
            faults.append(
                f"{source}: the id of {name} is {UNKNOWN_ID} (unknown), which training cannot use; remove the line"
            )
        else:
            drawings[name] = by_path[drawing.path] = drawing
    if not drawings and not faults:
        faults.append(f"the list is empty; add one line per drawing: a path{' and an id' if with_ids else ''}")
    valid = tuple(drawings.values())
    if faults:
        raise InvalidListError({str(path): faults if valid else _merge_equal_faults(faults)}, [valid])
    return valid


def read_lists(*readers: Callable[[], tuple[Drawing, ...]]) -> tuple[tuple[Drawing, ...], ...]:
    """Read several lists and report all their faults together.

    Args:
        readers: each reads one list and raises what `read_list` does.

    Raises:
        InvalidListError: of any of the lists; `valid` has an entry for each.
    """
    lists: list[tuple[Drawing, ...]] = []
    faults: dict[str, Sequence[str]] = {}
    for read in readers:
        try:
            lists.append(read())
        except InvalidListError as error:
            faults |= error.faults
            lists.append(error.valid[0] if error.valid else ())
    if faults:
        raise InvalidListError(faults, lists)
    return tuple(lists)


def raise_faults(faults: Sequence[str], where: str) -> None:
    """Raise InvalidListError if there are any faults."""
    if faults:
        raise InvalidListError({where: faults})


def _merge_equal_faults(faults: Sequence[str]) -> Sequence[str]:
    """Return the first fault with the number of the others if all lines of a list have the same one."""
    is_same = any(all(kind in fault for fault in faults) for kind in _KINDS_MERGED)
    if len(faults) < 2 or not is_same:
        return faults
    others = "the other line has" if len(faults) == 2 else f"the other {len(faults) - 1:,} lines have"
    return [f"{faults[0]} ({others} the same fault)"]


def _has_same_letters(name: str, other: str) -> bool:
    """Return whether two names differ at most in their Unicode form."""
    return name == other or unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", other)
