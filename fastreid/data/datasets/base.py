"""What every data set gives, and the one reader of lists."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from fastreid.data.io.messages import one_line
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.files import read_whole

NUM_FAULTS_TOLD = 20
CSV_COLUMNS = ("path", "id", "camera")  # camera may be left out


@dataclass(frozen=True)
class RetrievalData:
    """The drawings of one data set.

    Args:
        name: what the config calls it.
        train: drawings to learn from; empty where only the test was asked for.
        queries: drawings to search for.
        gallery: drawings to search among.

    Raises:
        InputError: the queries or the gallery are empty.
    """

    name: str
    train: tuple[Drawing, ...]
    queries: tuple[Drawing, ...]
    gallery: tuple[Drawing, ...]

    def __post_init__(self) -> None:
        for part, drawings in (("query", self.queries), ("database", self.gallery)):
            if not drawings:
                raise InputError(
                    f"{self.name}: the {part} list is empty; a test needs at least one drawing in each list"
                )


class ListFaults(InputError):
    """What is wrong with lists or folders, all of it.

    The message tells the first 20 faults of each list and how many there are.

    Args:
        faults: where -> what is wrong there, one fault at least.
        sound: for each list that was asked for, the drawings of its other lines; empty where these cannot be told.
    """

    def __init__(self, faults: Mapping[str, Sequence[str]], sound: Sequence[tuple[Drawing, ...]] = ()):
        super().__init__("; ".join(told(found, where) for where, found in faults.items()))
        self.faults = {where: tuple(found) for where, found in faults.items()}
        self.sound = tuple(sound)


class Dataset(Protocol):
    """A folder or lists that name drawings; each part is read only when asked for."""

    def train(self) -> tuple[Drawing, ...]:
        """The drawings to learn from."""

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """The queries and the database."""


def class_numbers(drawings: Sequence[Drawing]) -> tuple[list[int], tuple[str, ...]]:
    """A class number for each drawing, and the patents' words in order of their numbers.

    The words are sorted as text ("10" before "2"), as fast-reid does, so that the classifier of one of its
    checkpoints keeps its meaning.
    """
    words = tuple(sorted({drawing.patent for drawing in drawings}))
    numbers = {word: number for number, word in enumerate(words)}
    return [numbers[drawing.patent] for drawing in drawings], words


def read_list(path: str | Path, *, images: Path | Sequence[Path], with_ids: bool) -> tuple[Drawing, ...]:
    """Read a list of drawings: a text file with `relative/path.png id` a line, or a CSV with columns path and id.

    In a text file the id is the last field and an integer; the path may hold spaces. A CSV has a header, its id may be
    any word, and a column `camera` may follow. Blank lines, CRLF, a byte-order mark and a missing last newline are all
    right. All faults are told at once, the first 20 with their lines.

    Args:
        path: the list; a name ending in .csv is read as CSV.
        images: the folder the paths start from, or several: the first that holds the file counts.
        with_ids: whether the list gives ids; without, a line of a text file is a path and the patent's word is "".

    Raises:
        InputError: the list cannot be read, or its header names other columns.
        ListFaults: a wrong number of fields, an id that is no integer, a path that leaves the folder, a path that
            stands twice, a file that is missing.
    """
    path = Path(path)
    folders = [images] if isinstance(images, Path) else list(images)
    faults: list[str] = []
    finder = _Finder(folders)
    drawings: dict[str, Drawing] = {}
    for line, fields in _entries(path, with_ids=with_ids, faults=faults):
        name, word, camera = fields
        source = f"{path.name}:{line}"
        earlier = drawings.get(name)
        if earlier is not None:
            ids = f" with ids {earlier.patent} and {word}" if earlier.patent != word else ""
            faults.append(f"{source}: {name} stands here and in line {earlier.source.rsplit(':', 1)[1]}{ids}")
            continue
        try:
            drawings[name] = Drawing(finder.find(name), name, word, camera, source)
        except InputError as error:
            faults.append(f"{source}: {error}")
    found = tuple(drawings.values())
    if faults:
        raise ListFaults({str(path): faults}, [found])
    return found


def read_each(*readers: Callable[[], tuple[Drawing, ...]]) -> tuple[tuple[Drawing, ...], ...]:
    """The drawings of several lists; the faults of all of them are told together.

    Args:
        readers: each reads one list and raises what `read_list` does.

    Raises:
        ListFaults: of any of the lists; `sound` has an entry for each.
    """
    found: list[tuple[Drawing, ...]] = []
    faults: dict[str, Sequence[str]] = {}
    for read in readers:
        try:
            found.append(read())
        except ListFaults as error:
            faults |= error.faults
            found.append(error.sound[0] if error.sound else ())
    if faults:
        raise ListFaults(faults, found)
    return tuple(found)


def refuse(faults: Sequence[str], where: str) -> None:
    """Raise `ListFaults` where there is a fault."""
    if faults:
        raise ListFaults({where: faults})


def told(faults: Sequence[str], where: str) -> str:
    """The first 20 faults and how many there are, in one line; "" when there are none."""
    if len(faults) < 2:
        return "".join(f"{where}: {one_line(fault)}" for fault in faults)
    first = f", the first {NUM_FAULTS_TOLD}" if len(faults) > NUM_FAULTS_TOLD else ""
    return f"{where}: {len(faults)} faults{first}: {'; '.join(one_line(fault) for fault in faults[:NUM_FAULTS_TOLD])}"


Entry = tuple[int, tuple[str, str, int]]


def _entries(path: Path, *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    lines = _lines(path, faults)
    if path.suffix.lower() == ".csv":
        return _csv_entries(path, lines, with_ids=with_ids, faults=faults)
    return _text_entries(path, lines, with_ids=with_ids, faults=faults)


def _lines(path: Path, faults: list[str]) -> list[str]:
    """The list's lines without their ends; a line that is not UTF-8 is a fault and stands here as a blank one."""
    try:
        content = read_whole(path)
    except OSError as error:
        raise InputError(
            f"{path}: no list can be read here ({error.strerror}); set DATASETS.ROOT (or $FASTREID_DATASETS) "
            "to the folder of the data, or DATASETS.LIST to the list's path"
        )
    lines = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            faults.append(f"{path.name}:{number}: not UTF-8 text")
            lines.append("")
    return lines


def _text_entries(path: Path, lines: Iterable[str], *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        fields = line.rsplit(None, 1) if with_ids else [line.strip()]
        if not line.strip():
            continue
        if with_ids and len(fields) != 2:
            faults.append(f"{path.name}:{number}: {line.strip()!r} has 1 field; a line is a path and an id")
        elif with_ids and not re.fullmatch(r"-?[0-9]{1,18}", fields[1]):
            faults.append(f"{path.name}:{number}: the id {fields[1]!r} is not an integer")
        else:
            yield number, (_name(fields[0]), str(int(fields[1])) if with_ids else "", -1)


def _csv_entries(path: Path, lines: Sequence[str], *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    rows = csv.reader(f"{line}\n" for line in lines)
    columns: list[str] = []
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            source = f"{path.name}:{rows.line_num}"
            if not any(fields):
                continue
            if not columns:
                columns = _csv_columns(source, fields, with_ids=with_ids)
                continue
            values = dict(zip(columns, fields))
            if len(fields) != len(columns) or not all(fields):
                faults.append(f"{source}: {fields} does not fill the columns {', '.join(columns)}")
            elif not re.fullmatch(r"-?[0-9]{1,9}", values.get("camera", "-1")):
                faults.append(f"{source}: the camera {values['camera']!r} is not an integer")
            else:
                word = values["id"] if with_ids else ""
                yield rows.line_num, (_name(values["path"]), word, int(values.get("camera", "-1")))
    except csv.Error as error:
        faults.append(f"{path.name}:{rows.line_num}: not CSV ({error})")


def _csv_columns(source: str, header: list[str], *, with_ids: bool) -> list[str]:
    columns = [column.lower() for column in header]
    needed = {"path", "id"} if with_ids else {"path"}
    if not needed <= set(columns) <= set(CSV_COLUMNS) or len(set(columns)) != len(columns):
        raise InputError(
            f"{source}: the header is {one_line(', '.join(header))!r}; needed are {', '.join(sorted(needed, reverse=True))}, "
            f"allowed are {', '.join(CSV_COLUMNS)}"
        )
    return columns


def _name(field: str) -> str:
    """A path of a list with forward slashes and nothing superfluous, as it is compared and shown."""
    path = field.strip().replace("\\", "/")
    return str(PurePosixPath(path)) if path else path


class _Finder:
    """Finds the files of a list below its folders, and refuses what leads out of them."""

    def __init__(self, folders: Sequence[Path]):
        self.roots = [(str(folder), os.path.realpath(folder)) for folder in folders]
        self.real_parents: dict[str, str] = {}

    def find(self, name: str) -> str:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            raise InputError(f"{name} is an absolute path; paths start from {self.roots[0][0]}")
        if ".." in parts or "\0" in name:
            raise InputError(f"{name!r} leads out of {self.roots[0][0]}; write it without '..'")
        for folder, real_root in self.roots:
            path = os.path.join(folder, name)
            try:
                if os.path.isfile(path):
                    self._check_inside(path, folder, real_root)
                    return path
            except ValueError:
                break
        raise InputError(f"no file {os.path.join(self.roots[0][0], name)}")

    def _check_inside(self, path: str, folder: str, real_root: str) -> None:
        # One real path a sub-folder, not one a file: a list has up to a hundred thousand files in few folders.
        parent = os.path.dirname(path)
        if parent not in self.real_parents:
            self.real_parents[parent] = os.path.realpath(parent)
        real = os.path.realpath(path) if os.path.islink(path) else self.real_parents[parent] + "/"
        if not (real + "/").startswith(real_root.rstrip("/") + "/"):
            raise InputError(f"{path} is a link that leads out of {folder}; put the file itself there")
