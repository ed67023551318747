"""Dataset interface and image list reader."""

import csv
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.files import read_file_bytes
from fastreid.utils.page_address import split_page_address
from fastreid.utils.text import escape_unprintable, format_faults

CSV_COLUMNS = ("path", "id", "camera")  # camera is optional


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
        super().__init__("\n".join(format_faults(items, where) for where, items in faults.items()))
        self.faults = {where: tuple(items) for where, items in faults.items()}
        self.valid = tuple(valid)


class Dataset(Protocol):
    """A folder or lists of drawings; each part is read only when requested."""

    def train(self) -> tuple[Drawing, ...]:
        """Return the training drawings."""

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""


def encode_labels(drawings: Sequence[Drawing]) -> tuple[list[int], tuple[str, ...]]:
    """Return the label of each drawing, and the patent ids in the order of their labels.

    The ids are sorted as text ("10" before "2"), as in fast-reid, so that the classifiers of its checkpoints keep
    their meaning.
    """
    patents = tuple(sorted({drawing.patent for drawing in drawings}))
    labels = {patent: label for label, patent in enumerate(patents)}
    return [labels[drawing.patent] for drawing in drawings], patents


def read_list(path: str | Path, *, images: Path | Sequence[Path], with_ids: bool) -> tuple[Drawing, ...]:
    """Read an image list: a text file with `relative/path.png id` per line, or a CSV file with columns path and id.

    In a text file the id is the last field, an integer; the path may contain spaces. A CSV file has a header, its ids
    are any text, and a column `camera` is optional. Blank lines, CRLF, a byte-order mark and a missing final newline
    are allowed. A path may be the address of a page in a TIFF or PDF, "a.tif#page=2". All faults are reported together.

    Args:
        path: the list; a name ending in .csv is read as CSV.
        images: the folder the paths are relative to, or several: the first that contains the file is used.
        with_ids: the list has ids. Otherwise a line of a text file is a path, and the patent id is "".

    Raises:
        InputError: the list cannot be read, or its header has other columns.
        InvalidListError: a wrong number of fields, an id that is not an integer or contains control characters, a path
            outside the folder, a repeated path, or a missing file.
    """
    path = Path(path)
    folders = [images] if isinstance(images, Path) else list(images)
    faults: list[str] = []
    resolver = _PathResolver(folders)
    drawings: dict[str, Drawing] = {}
    for line, fields in _read_entries(path, with_ids=with_ids, faults=faults):
        name, patent, camera = fields
        source = f"{path.name}:{line}"
        earlier = drawings.get(name)
        if earlier is not None:
            ids = f" with ids {earlier.patent} and {patent}" if earlier.patent != patent else ""
            faults.append(f"{source}: {name} is also in line {earlier.source.rsplit(':', 1)[1]}{ids}")
            continue
        try:
            drawings[name] = Drawing(resolver.resolve(name), name, patent, camera, source)
        except InputError as error:
            faults.append(f"{source}: {error}")
    valid = tuple(drawings.values())
    if faults:
        raise InvalidListError({str(path): faults}, [valid])
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


Entry = tuple[int, tuple[str, str, int]]  # line number; path, id and camera


def _read_entries(path: Path, *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    lines = _read_lines(path, faults)
    if path.suffix.lower() == ".csv":
        return _parse_csv(path, lines, with_ids=with_ids, faults=faults)
    return _parse_text(path, lines, with_ids=with_ids, faults=faults)


def _read_lines(path: Path, faults: list[str]) -> list[str]:
    """Return the lines without their line ends; a line that is not UTF-8 adds a fault and is returned blank."""
    try:
        content = read_file_bytes(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot read the list ({error.strerror}); set DATASETS.ROOT (or $FASTREID_DATASETS) "
            "to the folder of the data, or DATASETS.LIST to the path of the list"
        )
    lines = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            faults.append(f"{path.name}:{number}: not UTF-8 text")
            lines.append("")
    return lines


def _parse_text(path: Path, lines: Iterable[str], *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        fields = line.rsplit(None, 1) if with_ids else [line.strip()]
        if not line.strip():
            continue
        if with_ids and len(fields) != 2:
            faults.append(f"{path.name}:{number}: {line.strip()!r} has 1 field; a line is a path and an id")
        elif with_ids and not re.fullmatch(r"-?[0-9]{1,18}", fields[1]):
            faults.append(f"{path.name}:{number}: the id {fields[1]!r} is not an integer")
        else:
            yield number, (_normalize_path(fields[0]), str(int(fields[1])) if with_ids else "", -1)


def _parse_csv(path: Path, lines: Sequence[str], *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    rows = csv.reader(f"{line}\n" for line in lines)
    columns: list[str] = []
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            source = f"{path.name}:{rows.line_num}"
            if not any(fields):
                continue
            if not columns:
                columns = _check_header(source, fields, with_ids=with_ids)
                continue
            values = dict(zip(columns, fields))
            if len(fields) != len(columns) or not all(fields):
                faults.append(f"{source}: {fields} does not have one value for each column {', '.join(columns)}")
            elif not re.fullmatch(r"-?[0-9]{1,9}", values.get("camera", "-1")):
                faults.append(f"{source}: the camera {values['camera']!r} is not an integer")
            elif with_ids and has_control_characters(values["id"]):
                faults.append(f"{source}: {describe_invalid_id(values['id'])}")
            else:
                patent = values["id"] if with_ids else ""
                yield rows.line_num, (_normalize_path(values["path"]), patent, int(values.get("camera", "-1")))
    except csv.Error as error:
        faults.append(f"{path.name}:{rows.line_num}: not CSV ({error})")


def has_control_characters(patent: str) -> bool:
    """Return whether an id contains a line break, tab or other control character, which tables and plots cannot show."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in patent)


def describe_invalid_id(patent: str) -> str:
    """Return the fault of an id with control characters."""
    return f"the id {patent!r} contains a line break, tab or other control character; remove it"


def _check_header(source: str, header: list[str], *, with_ids: bool) -> list[str]:
    columns = [column.lower() for column in header]
    required = {"path", "id"} if with_ids else {"path"}
    if not required <= set(columns) <= set(CSV_COLUMNS) or len(set(columns)) != len(columns):
        raise InputError(
            f"{source}: the header is {escape_unprintable(', '.join(header))!r}; "
            f"required: {', '.join(sorted(required, reverse=True))}; allowed: {', '.join(CSV_COLUMNS)}"
        )
    return columns


def _normalize_path(field: str) -> str:
    """Return a path of a list with forward slashes and without redundant parts, for comparison and display."""
    path = field.strip().replace("\\", "/")
    return str(PurePosixPath(path)) if path else path


class _PathResolver:
    """Resolves the paths of a list within its folders; paths outside of them are invalid."""

    def __init__(self, folders: Sequence[Path]):
        self.roots = [(str(folder), os.path.realpath(folder)) for folder in folders]
        self.real_parents: dict[str, str] = {}

    def resolve(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            raise InputError(f"{name} is an absolute path; write it relative to {self.roots[0][0]}")
        if ".." in parts or "\0" in name:
            raise InputError(f"{name!r} leaves {self.roots[0][0]}; write it without '..'")
        for folder, real_root in self.roots:
            path = os.path.join(folder, name)
            try:
                file, _ = split_page_address(path)
                if os.path.isfile(file):
                    self._check_inside(file, folder, real_root)
                    return path
            except ValueError:
                break
        raise InputError(f"no file {os.path.join(self.roots[0][0], name)}")

    def _check_inside(self, path: str, folder: str, real_root: str) -> None:
        # One realpath() per folder instead of per file: a list has up to a hundred thousand files in few folders.
        parent = os.path.dirname(path)
        if parent not in self.real_parents:
            self.real_parents[parent] = os.path.realpath(parent)
        real = os.path.realpath(path) if os.path.islink(path) else self.real_parents[parent] + "/"
        if not (real + "/").startswith(real_root.rstrip("/") + "/"):
            raise InputError(f"{path} is a link to a file outside {folder}; put the file itself there")
