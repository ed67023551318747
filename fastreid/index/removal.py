"""Remove the drawings that sources no longer contain, and those of a removed source."""

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from fastreid.index.backends.base import Backend
from fastreid.index.filters import OneOf
from fastreid.index.ingest import IngestReport, delete_ids, replace_metadata, scan_sources
from fastreid.index.manifest import Source
from fastreid.index.side_storage import SideStorage
from fastreid.index.sources import Entry
from fastreid.utils.errors import InputError
from fastreid.utils.text import format_count


def remove_missing(
    entries: Sequence[Entry],
    sources: Sequence[Source],
    backend: Backend,
    *,
    side_data: SideStorage,
    report: IngestReport,
    skip: Collection[str] = (),
) -> None:
    """Delete the drawings of sources that the sources no longer contain, but not those below an unreadable path.

    Args:
        entries: all drawings of the sources.
        sources: the sources.
        backend: the table.
        side_data: thumbnails.
        report: gets the number, and a note about the drawings that are kept.
        skip: paths of files whose drawings are kept.
    """
    present = {entry.id for entry in entries}
    node = OneOf("source", tuple(source.path for source in sources))
    rows = (row for block in backend.scan(["id", "path", "source"], node) for row in block)
    missing, kept, checked = [], Counter[str](), dict[str, bool]()
    for row in rows:
        if row["id"] in present or row["path"] in skip:
            continue
        unreadable = _find_unreadable(row["path"], row["source"], checked)
        if unreadable:
            kept[unreadable] += 1
        else:
            missing.append(row["id"])
    report.num_removed += delete_ids(missing, backend, side_data)
    report.notes += [
        f"{format_count(num, 'drawing')} kept, because {path} cannot be read; check its permissions or its link"
        for path, num in kept.items()
    ]


def _find_unreadable(path: str, source: str, checked: dict[str, bool]) -> str:
    """Return the folder or link that hides whether a file exists; "": none, so that it is known to be missing.

    Args:
        path: of the file.
        source: path of its source; its folders must be readable, those above it need not be.
        checked: results for earlier folders.
    """
    for part in (*reversed(Path(path).parents), Path(path)):
        name = str(part)
        if name not in checked:
            try:
                if part.is_relative_to(source) and os.path.isdir(part):
                    os.scandir(part).close()
                else:
                    os.stat(part)
                checked[name] = False
            except (FileNotFoundError, NotADirectoryError):
                if not os.path.islink(part):
                    return ""
                checked[name] = True
            except OSError:
                checked[name] = True
        if checked[name]:
            return name
    return ""


def remove_source_drawings(path: str, others: Sequence[Source], backend: Backend, side_data: SideStorage) -> int:
    """Delete the drawings of a source, and return their number; one that another source contains gets its metadata.

    Args:
        path: of the source.
        others: the other sources; one that cannot be read is ignored, as an update adds its drawings later.
        backend: the table.
        side_data: thumbnails.
    """
    names = {row["id"] for block in backend.scan(["id"], OneOf("source", (path,))) for row in block}
    shared: dict[str, Entry] = {}
    for source in others if names else ():
        with contextlib.suppress(InputError):
            entries = scan_sources([source], backend, IngestReport())
            shared |= {entry.id: entry for entry in entries if entry.id in names}
    replace_metadata(shared, backend)
    return delete_ids(sorted(names - shared.keys()), backend, side_data)
