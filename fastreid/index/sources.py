"""Read the sources of a collection: folders, image files and lists, with metadata from a table."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastreid.data.datasets.base import InvalidListError, read_list
from fastreid.data.datasets.folder_tree import SUFFIXES, FolderTree, list_pages, scan_folder
from fastreid.data.datasets.list_paths import PathResolver
from fastreid.data.io.image import read_image
from fastreid.index.columns import STANDARD_COLUMNS, SYSTEM_COLUMNS, ColumnType, Value
from fastreid.index.manifest import Source
from fastreid.index.tables import TABLE_SUFFIXES, read_table
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import split_page_address
from fastreid.utils.text import escape_unprintable, format_count, format_faults, is_unicode

LIST_SUFFIXES = (".txt", *TABLE_SUFFIXES)
_CHECKED_PX = 256  # longest side of a page that is decoded only to see whether that is possible
_MAX_LIST_START = 100  # lines read to find out whether a list has ids


@dataclass(frozen=True)
class Entry:
    """A drawing that a source contains.

    Args:
        path: absolute path of its file.
        page: its page in the file, from 1.
        address: what the image decoder reads: the path, or the address of the page.
        metadata: values by column; a column without a value is absent.
        source: path of the source.
    """

    path: str
    page: int
    address: str
    metadata: Mapping[str, Value]
    source: str

    @property
    def id(self) -> str:
        """The id of the drawing in a collection: a digest of its path and page."""
        return hashlib.sha256(f"{self.path}\n{self.page}".encode()).hexdigest()[:16]


@dataclass
class Scan:
    """The content of a source.

    Args:
        entries: its drawings, each once.
        types: types of the columns of their metadata.
        faults: files and lines that were skipped, one line each.
        notes: messages about the whole source.
    """

    entries: list[Entry] = field(default_factory=list)
    types: dict[str, ColumnType] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_source(path: str, *, images: str = "", metadata: str = "") -> Source:
    """Return the source of a path, with absolute paths.

    Raises:
        InputError: a path does not exist or has the wrong type, or an option does not apply.
    """
    absolute = Path(os.path.abspath(path))
    if not absolute.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    is_list = absolute.is_file() and absolute.suffix.lower() in LIST_SUFFIXES
    if images and not is_list:
        raise InputError(f"--images is the folder of the images of a list, but {path} is no list; remove it")
    if images and not os.path.isdir(images):
        raise InputError(f"--images {images}: no such folder; check the path")
    if metadata and not os.path.isfile(metadata):
        raise InputError(f"--metadata {metadata}: no such file; check the path")
    if metadata and Path(metadata).suffix.lower() not in TABLE_SUFFIXES:
        raise InputError(f"--metadata {metadata}: the name must end in {' or '.join(TABLE_SUFFIXES)}")
    if not is_unicode(str(absolute)):
        raise InputError(f"{escape_unprintable(str(absolute))}: the name is not UTF-8; rename the file or folder")
    return Source(str(absolute), *(os.path.abspath(name) if name else "" for name in (images, metadata)))


def scan_source(source: Source, known: Mapping[str, ColumnType], *, allow_empty: bool = False) -> Scan:
    """Read a source.

    Args:
        source: the source.
        known: columns of the collection, with their types.
        allow_empty: whether the source may contain no drawing.

    Raises:
        InputError: the source or its metadata cannot be read, or it contains no drawing.
    """
    path, scan = Path(source.path), Scan()
    if source.images and not os.path.isdir(source.images):
        raise InputError(
            f"{path}: the folder of its images, {source.images}, no longer exists; mount it again, or remove the "
            "drawings with `fastreid index remove --source`"
        )
    if path.is_dir():
        base, found = path, _read_folder(path, scan)
    elif path.suffix.lower() == ".txt":
        base = Path(source.images) if source.images else path.parent
        found = _read_text_list(path, source, scan)
    elif path.suffix.lower() in TABLE_SUFFIXES:
        base = Path(source.images) if source.images else path.parent
        found = _read_table_list(path, base, scan, known=dict(known))
    elif path.is_file():
        base, found = path.parent, _read_folder(path.parent, scan, only=path.name)
    else:
        raise InputError(
            f"{path}: this source of the collection no longer exists; mount it again, or remove its drawings with "
            "`fastreid index remove --source`"
        )
    entries = [_make_entry(address, metadata, source.path) for address, metadata in found]
    if source.metadata:
        entries = _add_metadata(entries, source, base, scan=scan, known=known)
    scan.entries = list({entry.id: entry for entry in entries}.values())
    if not (scan.entries or scan.faults or allow_empty):
        raise InputError(f"{path}: contains no drawing ({', '.join(SUFFIXES)}); check the path")
    return scan


def check_sources(sources: Iterable[Source]) -> None:
    """Check that a new collection can be made of sources.

    Raises:
        InputError: a source cannot be read, or none contains a drawing that can be decoded.
    """
    known: dict[str, ColumnType] = {**SYSTEM_COLUMNS, **STANDARD_COLUMNS}
    faults: list[str] = []
    entries: list[Entry] = []
    for source in sources:
        scan = scan_source(source, known)
        known |= scan.types
        faults += scan.faults
        entries += scan.entries
    for entry in entries:
        try:
            read_image(entry.address, longest_px=_CHECKED_PX)
            return
        except InputError as error:
            faults.append(str(error))
    raise InputError(format_faults(faults, "none of the drawings can be read"))


Found = Iterator[tuple[str, dict[str, Value]]]  # (absolute path or address of a page, metadata)


def _make_entry(address: str, metadata: Mapping[str, Value], source: str) -> Entry:
    path, page = split_page_address(address)
    return Entry(path, page + 1, address, metadata, source)


def _read_folder(folder: Path, scan: Scan, only: str = "") -> Found:
    """Yield the pages of all drawings of a folder, or of one file; the folder of a drawing is its patent."""
    tree = FolderTree(folder, {(): [only]}) if only else scan_folder(folder)
    scan.faults += [f"{folder}: {fault}" for fault in tree.faults]
    counts = Counter(parts[-1] for parts in tree.drawings if parts)
    for parts, files in sorted(tree.drawings.items()):
        name = parts[-1] if parts else folder.name
        patent = "/".join(parts) if counts[name] > 1 and parts else name  # folders of one name are several patents
        for file in files:
            if not is_unicode("/".join((*parts, file))):
                shown = escape_unprintable(str(folder.joinpath(*parts, file)))
                scan.faults.append(f"{shown}: the name is not UTF-8; rename the folder or file")
                continue
            try:
                for address, _ in list_pages(tree, parts, file):
                    yield address, {"patent": patent} if patent else {}
            except InputError as error:
                scan.faults.append(f"{folder}: {error}")


def _read_text_list(path: Path, source: Source, scan: Scan) -> Found:
    """Yield the drawings of a text list, such as those of DeepPatent."""
    folder = path.parent
    guesses = [folder, folder / "patent_data", folder.parent / "database", folder.parent / "queries"]
    images = [Path(source.images)] if source.images else [guess for guess in guesses if guess.is_dir()]
    try:
        drawings = read_list(path, images=images, with_ids=_has_ids(path))
    except InvalidListError as error:
        drawings = error.valid[0] if error.valid else ()
        scan.faults += [fault for faults in error.faults.values() for fault in faults]
    for drawing in drawings:
        yield os.path.abspath(drawing.path), {"patent": drawing.patent} if drawing.patent else {}


def _has_ids(path: Path) -> bool:
    """Return whether the lines of a list end with an integer."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line, _ in zip(file, range(_MAX_LIST_START))]
    except OSError as error:
        raise InputError(f"{path}: cannot read the list ({error.strerror}); check its permissions")
    return any(re.search(r"\S\s+-?[0-9]+$", line) for line in lines)


def _read_table_list(path: Path, images: Path, scan: Scan, *, known: dict[str, ColumnType]) -> Found:
    """Yield the drawings of a CSV or Parquet file, with the metadata in their rows."""
    table = read_table(path, known)
    if not table.paths:
        raise InputError(f"{path}: a list of drawings needs a column path; give a table of metadata as --metadata")
    scan.types |= table.types
    resolver = PathResolver([images])
    for name, row, source in zip(table.paths, table.iter_rows(), table.sources):
        try:
            is_absolute_file = os.path.isabs(name) and os.path.isfile(split_page_address(name)[0])
            address = name if is_absolute_file else resolver.resolve(name)
        except InputError as error:
            scan.faults.append(f"{source}: {error}")
            continue
        yield os.path.abspath(address), row


def _add_metadata(
    entries: Iterable[Entry], source: Source, base: Path, *, scan: Scan, known: Mapping[str, ColumnType]
) -> list[Entry]:
    """Return entries with the values of a metadata table, which replace those of the source."""
    path = Path(source.metadata)
    table = read_table(path, dict(known) | scan.types)
    scan.types |= table.types
    rows: dict[str, tuple[int, dict[str, Value]]] = {}
    for position, row in enumerate(table.iter_rows()):
        if not table.paths:
            rows[str(row.get("patent"))] = (position, row)
            continue
        for folder in (base, path.parent):
            rows[os.path.normpath(folder / table.paths[position])] = (position, row)
    used, completed = set(), []
    for entry in entries:
        keys = (entry.address, entry.path) if table.paths else (str(entry.metadata.get("patent")),)
        found = next((rows[key] for key in keys if key in rows), None)
        if found is None:
            completed.append(entry)
            continue
        used.add(found[0])
        metadata = {**entry.metadata, **found[1]}
        completed.append(Entry(entry.path, entry.page, entry.address, metadata, entry.source))
    unused = [where for position, where in enumerate(table.sources) if position not in used]
    if unused:
        scan.notes.append(
            f"{path}: {format_count(len(unused), 'row')} of {len(table.sources)} match no drawing (first: {unused[0]})"
        )
    return completed
