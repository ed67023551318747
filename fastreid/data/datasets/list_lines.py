"""Lines of image lists: text and CSV files, decoded and split into path, id and camera."""

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fastreid.data.datasets.list_paths import describe_contents
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import read_file_bytes
from fastreid.utils.resources import find_resource_error
from fastreid.utils.text import escape_unprintable

CSV_COLUMNS = ("path", "id", "camera")  # camera is optional
UNKNOWN_ID = "-1"  # in a list; junk in fast-reid
NOT_AN_INTEGER = "is not an integer; use .csv for text ids"

_CODECS = {  # UTF-32 first, because its mark starts with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MAX_ID_DIGITS = 100
_NUM_BYTES_CHECKED = 1024


class Entry(NamedTuple):
    """One line of a list.

    Args:
        line: its number, from 1.
        path: with forward slashes and without redundant parts.
        patent: the id, in Unicode form NFC; "" if it is unknown or the list has no ids.
        camera: -1 if unknown.
    """

    line: int
    path: str
    patent: str
    camera: int


def read_entries(path: Path, *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    """Yield the valid lines of a list and add the faults of the others.

    Args:
        path: the list; a name ending in .csv is read as CSV.
        with_ids: the list has ids. Otherwise a line of a text file is a path.
        faults: one line each; the file and the line number come first.

    Raises:
        InputError: the list cannot be read.
        EnvironmentSetupError: too many files are open, or there is not enough memory.
    """
    lines = _read_lines(path, faults)
    if path.suffix.lower() == ".csv":
        return _parse_csv(path, lines, with_ids=with_ids, faults=faults)
    return _parse_text(path, lines, with_ids=with_ids, faults=faults)


def has_control_characters(patent: str) -> bool:
    """Return whether an id contains a line break, tab or other control character, which tables cannot show."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in patent)


def describe_invalid_id(patent: str) -> str:
    """Return the fault of an id with control characters."""
    return f"the id {patent!r} contains a line break, tab or other control character; remove it"


def _read_lines(path: Path, faults: list[str]) -> list[str]:
    """Return the lines without their line ends; a line that is no text adds a fault and is returned blank."""
    try:
        content = read_file_bytes(path)
    except OSError as error:
        resource_error = find_resource_error(error)
        if resource_error is not None:
            raise EnvironmentSetupError(f"{path}: cannot read the list: {resource_error}") from error
        raise InputError(
            f"{path}: cannot read the list ({error.strerror}); {describe_contents(path.parent)}; set DATASETS.ROOT "
            "(or $FASTREID_DATASETS) to the folder of the data, or DATASETS.LIST to the path of the list"
        )
    lines = []
    if _is_utf16_without_mark(content):
        faults.append(f"{path.name}: UTF-16 without a byte-order mark; save the list as UTF-8")
        content = b""
    for number, line in enumerate(_convert_to_utf8(path, content, faults).splitlines(), 1):
        fault = _find_encoding_fault(line)
        if fault:
            faults.append(f"{path.name}:{number}: {fault}; save the list as UTF-8")
        lines.append("" if fault else line.decode("utf-8"))
    return lines


def _convert_to_utf8(path: Path, content: bytes, faults: list[str]) -> bytes:
    """Return the text of a file with a byte-order mark as UTF-8 without it; other content is returned unchanged."""
    for mark, codec in _CODECS.items():
        if content.startswith(mark):
            try:
                return content.decode(codec).encode("utf-8")
            except UnicodeDecodeError as error:
                faults.append(
                    f"{path.name}: starts with the byte-order mark of {codec}, but byte {error.start} is not {codec} "
                    f"({error.reason}); save the list as UTF-8"
                )
                return b""
    return content.removeprefix(codecs.BOM_UTF8)


def _is_utf16_without_mark(content: bytes) -> bool:
    """Return whether every second byte of the start is zero, as in ASCII text of UTF-16; a damaged list has few."""
    start = content[:_NUM_BYTES_CHECKED]
    has_mark = content.startswith(tuple(_CODECS))
    return not has_mark and len(start) >= 2 and max(start[::2].count(0), start[1::2].count(0)) > 0.4 * len(start)


def _find_encoding_fault(line: bytes) -> str:
    """Return why a line is not UTF-8 text, with the character that its byte is in old lists; "" if it is."""
    if b"\0" in line:
        return "contains a NUL byte: a damaged list, or UTF-16 without a byte-order mark"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode("utf-8")) + 1
        byte = line[error.start : error.start + 1]
        character = byte.decode("cp1252", errors="ignore")
        guess = f", which is {character!r} in Windows-1252" if character else ""
        return f"not UTF-8 text: column {column} is the byte 0x{byte.hex()}{guess}"
    return ""


def _parse_text(path: Path, lines: Iterable[str], *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        fields = line.rsplit(None, 1) if with_ids else [line.strip()]
        if not line.strip():
            continue
        if with_ids and len(fields) != 2:
            faults.append(
                f"{path.name}:{number}: {line.strip()!r} has 1 field; a line is a path and an id, separated by a space"
            )
        elif with_ids and not re.fullmatch(r"-?[0-9]+", fields[1]):
            faults.append(f"{path.name}:{number}: the id {fields[1]!r} {NOT_AN_INTEGER}")
        elif with_ids and len(fields[1]) > _MAX_ID_DIGITS:
            faults.append(f"{path.name}:{number}: the id has {len(fields[1])} digits; allowed are {_MAX_ID_DIGITS}")
        else:
            patent = _convert_id(str(int(fields[1]))) if with_ids else ""
            yield Entry(number, _normalize_path(fields[0]), patent, -1)


def _parse_csv(path: Path, lines: Sequence[str], *, with_ids: bool, faults: list[str]) -> Iterator[Entry]:
    rows = csv.reader((f"{line}\n" for line in lines), delimiter=_find_delimiter(lines))
    columns: list[str] = []
    try:
        for row in rows:
            fields = [field.strip() for field in row]
            source = f"{path.name}:{rows.line_num}"
            if not any(fields):
                continue
            if not columns:
                columns = [field.lower() for field in fields]
                fault = _find_header_fault(columns, with_ids=with_ids)
                if _is_header_missing(fields):
                    first = "path,id" if with_ids else "path"
                    faults.append(f"{source}: the header line is missing; write {first} as the first line")
                    return
                if fault:
                    faults.append(f"{source}: the header is {escape_unprintable(', '.join(fields))!r}; {fault}")
                    return
                continue
            values = dict(zip(columns, fields))
            if len(fields) != len(columns) or not all(fields):
                faults.append(f"{source}: {fields} does not have one value for each column {', '.join(columns)}")
            elif not re.fullmatch(r"-?[0-9]{1,9}", values.get("camera", "-1")):
                faults.append(f"{source}: the camera {values['camera']!r} is not an integer")
            elif with_ids and has_control_characters(values["id"]):
                faults.append(f"{source}: {describe_invalid_id(values['id'])}")
            else:
                patent = _convert_id(values["id"]) if with_ids else ""
                yield Entry(rows.line_num, _normalize_path(values["path"]), patent, int(values.get("camera", "-1")))
    except csv.Error as error:
        faults.append(f"{path.name}:{rows.line_num}: not CSV ({error})")


def _find_delimiter(lines: Iterable[str]) -> str:
    """Return the character that separates the fields of the header; spreadsheets also write semicolons or tabs."""
    header = next((line for line in lines if line.strip(",;\t ")), "")
    return next((delimiter for delimiter in ",;\t" if delimiter in header), ",")


def _is_header_missing(fields: Sequence[str]) -> bool:
    """Return whether the first line is one of a drawing: no column has its name, and a field is a path or file name."""
    has_column = any(field.lower() in CSV_COLUMNS for field in fields)
    return not has_column and any(re.search(r"[/\\]|\.[A-Za-z0-9]{2,4}($|#)", field) for field in fields)


def _find_header_fault(columns: Sequence[str], *, with_ids: bool) -> str:
    """Return what is wrong with the names of the columns; "" if nothing is."""
    required = ("path", "id") if with_ids else ("path",)
    repeated = [column for column in CSV_COLUMNS if columns.count(column) > 1]
    if repeated:
        return f"the column {repeated[0]} appears {columns.count(repeated[0])} times; keep one of them"
    if not set(required) <= set(columns) <= set(CSV_COLUMNS):
        return f"required: {', '.join(required)}; allowed: {', '.join(CSV_COLUMNS)}"
    return ""


def _convert_id(patent: str) -> str:
    """Return the id of a drawing: "" if it is unknown, else in form NFC, so that equal letters are equal ids."""
    return "" if patent == UNKNOWN_ID else unicodedata.normalize("NFC", patent)


def _normalize_path(field: str) -> str:
    """Return a path of a list with forward slashes and without redundant parts, for comparison and display."""
    path = field.strip().replace("\\", "/")
    return str(PurePosixPath(path)) if path else path
