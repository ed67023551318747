"""Drawings that clients add: files in a folder, and a list of them with metadata, which is a source of the collection.

folder/
|-- drawings.csv           path and metadata of each page
`-- DIGEST/drawing.png     the upload; DIGEST is the start of the sha256 of its content
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.data.image import read_image
from fastreid.data.io.image import count_pages
from fastreid.index import Collection, IngestReport
from fastreid.index.columns import convert_name, parse_value
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write, write_text
from fastreid.utils.locks import exclusive_lock
from fastreid.utils.page_address import join_page_address

TABLE = "drawings.csv"
MAX_COLUMNS, MAX_VALUE_CHARACTERS = 50, 2000
# Start of a file -> the end of its name: `index update` finds files by their names.
_SUFFIXES = {
    b"\x89PNG": ".png",
    b"\xff\xd8": ".jpg",
    b"II": ".tif",
    b"MM": ".tif",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"%PDF": ".pdf",
    b"\x00\x00\x00\x0cjP": ".jp2",
}


@dataclass(frozen=True)
class Upload:
    """A drawing to add.

    Args:
        name: of the file, for messages.
        content: its bytes.
    """

    name: str
    content: bytes


def parse_metadata(text: str) -> dict[str, str | None]:
    """Return the columns of a JSON object; null is None.

    Raises:
        InputError: it is no object of texts, numbers and booleans, or a column has no usable name.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError('metadata must be a JSON object such as {"patent": "D0801234", "locarno": "06-01"}')
    if not isinstance(values, dict) or len(values) > MAX_COLUMNS:
        raise InputError(f"metadata must be a JSON object with at most {MAX_COLUMNS} columns")
    found: dict[str, str | None] = {}
    for name, value in values.items():
        column = convert_name(name)
        if value is None:
            found[column] = None
            continue
        if not isinstance(value, (str, int, float, bool)):
            raise InputError(f"metadata: the value of {column} must be a text, a number or true or false")
        plain = str(value).lower() if isinstance(value, bool) else str(value)
        is_printable = not any("\ud800" <= char <= "\udfff" or char == "\0" for char in plain)
        if len(plain) > MAX_VALUE_CHARACTERS or not is_printable:
            raise InputError(
                f"metadata: the value of {column} must be Unicode of at most {MAX_VALUE_CHARACTERS} characters"
            )
        if column != "patent" or plain.strip():  # an empty one is missing
            found[column] = plain
    return found


def add_uploads(
    collection: Collection, folder: Path, uploads: Sequence[Upload], metadata: Mapping[str, str | None]
) -> IngestReport:
    """Store uploads and add them to a collection.

    Args:
        collection: the collection.
        folder: of the uploads; created.
        uploads: the drawings.
        metadata: columns and values of all of them. They replace those of a drawing that was uploaded before, whose
            other columns remain; None removes a value. Without a patent each drawing is a patent of its own.

    Raises:
        InputError: a drawing cannot be decoded; none is added. Or a value does not fit its column.
    """
    columns = collection.columns()
    for column, text in metadata.items():
        try:
            parse_value(text or "", columns.get(column, "text") if text else "text")
        except InputError as error:
            raise InputError(f"metadata: {column}: {error}")
    names = [_choose_path(upload) for upload in uploads]
    folder.mkdir(parents=True, exist_ok=True)
    for upload, name in zip(uploads, names):
        path = folder / name
        if path.exists():
            continue
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            file.write(upload.content)
        try:
            read_image(path)
        except InputError as error:
            path.unlink()
            path.parent.rmdir()
            raise InputError(str(error).replace(str(path), upload.name))
    with exclusive_lock(folder / ".lock", activity="adding uploads", config_key="--enable-changes DIR"):
        return _add_rows(collection, folder, names, metadata)


def _add_rows(
    collection: Collection, folder: Path, names: Sequence[str], metadata: Mapping[str, str | None]
) -> IngestReport:
    """Add stored files to the list and to the collection; the caller holds the lock of the folder."""
    before = _read_table(folder / TABLE)
    present = _list_present(collection, folder)
    table = {name: row for name, row in before.items() if name in present}  # an addition restores what its list has
    for name in names:
        own_patent = {"patent": name.partition("/")[0]}
        for page in range(count_pages(folder / name)):
            address = join_page_address(name, page)
            row = {**table.get(address, {}), **metadata}
            table[address] = own_patent | {column: value for column, value in row.items() if value}
    _write_table(folder / TABLE, table)
    try:
        return collection.add([folder / TABLE])
    except InputError:
        _write_table(folder / TABLE, before)
        raise


def _list_present(collection: Collection, folder: Path) -> set[str]:
    """Return the addresses below the folder of the uploads that the collection has."""
    root = os.path.abspath(folder)
    source = os.path.join(root, TABLE).replace('"', '""')
    rows = (row for block in collection.scan(["path", "page"], f'source = "{source}"') for row in block)
    return {join_page_address(os.path.relpath(row["path"], root), row["page"] - 1) for row in rows}


def _choose_path(upload: Upload) -> str:
    """Return the path of an upload below the folder, which depends on its content only."""
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if upload.content.startswith(start)), None)
    if suffix is None:
        raise InputError(f"{upload.name}: not an image; allowed are PNG, JPEG, TIFF, GIF, BMP, WEBP, JPEG2000, PDF")
    return f"{hashlib.sha256(upload.content).hexdigest()[:16]}/drawing{suffix}"


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    """Return the metadata by path; empty if there is no table."""
    if not path.exists():
        return {}
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    return {row.pop("path"): {name: value for name, value in row.items() if value} for row in rows}


def _write_table(path: Path, table: Mapping[str, Mapping[str, str]]) -> None:
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["path", *columns], restval="")
    writer.writeheader()
    writer.writerows({"path": name, **row} for name, row in table.items())
    write_text(path, text.getvalue())
