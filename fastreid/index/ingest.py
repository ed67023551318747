"""Add the drawings of sources to a collection, and remove those that no longer exist.

A batch of drawings becomes visible at once, so a killed run leaves whole batches; the next run continues after them,
because the state of each file is stored with its drawing.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastreid.index.backends.base import Backend
from fastreid.index.columns import Row, Value
from fastreid.index.embedder import Embedder
from fastreid.index.filters import OneOf
from fastreid.index.manifest import Source
from fastreid.index.records import format_now
from fastreid.index.side_storage import SideStorage
from fastreid.index.sources import Entry, scan_source
from fastreid.utils.files import compute_sha256
from fastreid.utils.progress import show_progress
from fastreid.utils.text import format_count

BATCH_SIZE = 1024  # drawings that become visible together
_STATE = ("id", "source", "size_bytes", "mtime_ns", "sha256", "digest")
_IDS_PER_DELETION = 1000


@dataclass
class IngestReport:
    """What an addition or update did.

    Args:
        num_embedded: drawings whose features were computed.
        num_relabeled: drawings with other metadata, or whose file has another time but the same content.
        num_unchanged: drawings that were already in the collection.
        num_removed: drawings whose file or line no longer exists, or whose changed file cannot be read.
        num_excluded: drawings that were removed by hand, which an update does not add again.
        faults: files and lines that were skipped, one line each.
        notes: messages about whole sources.
        is_stopped: not all drawings were seen, because the caller stopped it.
    """

    num_embedded: int = 0
    num_relabeled: int = 0
    num_unchanged: int = 0
    num_removed: int = 0
    num_excluded: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_stopped: bool = False

    @property
    def has_changes(self) -> bool:
        """Whether the collection is another one than before."""
        return bool(self.num_embedded + self.num_relabeled + self.num_removed)

    def describe(self) -> str:
        """Return the counts on one line."""
        parts = [f"{format_count(self.num_embedded, 'drawing')} added", f"{self.num_unchanged} unchanged"]
        more = (
            (self.num_relabeled, "with new metadata"),
            (self.num_removed, "removed"),
            (self.num_excluded, "removed earlier"),
            (len(self.faults), "skipped"),
        )
        return ", ".join(parts + [f"{num:,} {what}" for num, what in more if num])


class _FileState(NamedTuple):
    size_bytes: int
    mtime_ns: int
    sha256: str


class _StoredState(NamedTuple):
    file: _FileState
    digest: str


def scan_sources(
    sources: Sequence[Source], backend: Backend, report: IngestReport, *, allow_empty: bool = False
) -> list[Entry]:
    """Return the drawings of sources, each once, and add the columns of their metadata to the table.

    Args:
        sources: the sources.
        backend: the table.
        report: gets what was skipped.
        allow_empty: as for `scan_source`.

    Raises:
        InputError: a source does not exist, or two of them have another type of the same column.
    """
    entries: dict[str, Entry] = {}
    for source in sources:
        known = backend.columns()
        scan = scan_source(source, known, allow_empty=allow_empty)
        backend.add_columns({name: kind for name, kind in scan.types.items() if name not in known})
        for entry in scan.entries:
            entries[entry.id] = entry  # of the latest source that contains it
        report.faults += scan.faults
        report.notes += scan.notes
    return list(entries.values())


def add_entries(
    entries: Sequence[Entry],
    backend: Backend,
    side_data: SideStorage,
    *,
    embedder: Embedder,
    report: IngestReport,
    mark_new: Callable[[Collection[str]], object] = lambda ids: None,
    is_current: Callable[[str], bool] = lambda path: True,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Compute the features of new and changed drawings, and store them in batches.

    Args:
        entries: drawings, each once.
        backend: the table.
        side_data: thumbnails.
        embedder: the model of the collection.
        report: gets the counts and faults.
        mark_new: called with the ids of new and changed drawings, before they become visible.
        is_current: returns whether the file with a path is as the caller saw it; others are left as they are.
        should_stop: called before each batch; True ends the addition.
    """
    stored = {
        row["id"]: _StoredState(_FileState(row["size_bytes"], row["mtime_ns"], row["sha256"]), row["digest"])
        for block in backend.scan(_STATE)
        for row in block
    }
    with show_progress("adding drawings", unit="drawing") as update:
        num_done = 0
        for batch in _split_batches(entries, stored, report, is_current=is_current):
            report.is_stopped = should_stop()
            if report.is_stopped:
                break
            if batch.embedded:
                mark_new(batch.embedded)
            _store_batch(batch, stored, backend, side_data=side_data, embedder=embedder, report=report)
            num_done += batch.num_seen
            update(num_done, len(entries))
    backend.maintain(thoroughly=False)


def replace_metadata(entries: Mapping[str, Entry], backend: Backend) -> None:
    """Replace the metadata and source of stored drawings.

    Args:
        entries: by the id of the drawing.
        backend: the table.
    """
    ids = list(entries)
    for start in range(0, len(ids), BATCH_SIZE):
        found = backend.get(ids[start : start + BATCH_SIZE])
        rows = []
        for row in found.rows:
            values: Mapping[str, Any] = row
            state = _FileState(values["size_bytes"], values["mtime_ns"], values["sha256"])
            rows.append(_make_row(entries[values["id"]], state, added=values["added"]))
        backend.replace(rows, found.vectors)


def delete_ids(ids: Sequence[str], backend: Backend, side_data: SideStorage) -> int:
    """Delete drawings with their thumbnails, and return how many there were."""
    num = 0
    for start in range(0, len(ids), _IDS_PER_DELETION):
        part = ids[start : start + _IDS_PER_DELETION]
        num += backend.delete(OneOf("id", tuple(part)))
        side_data.delete_thumbnails(part)
    return num


def store_rows(rows: Sequence[Row], features: Tensor, backend: Backend, *, known: Collection[Value | None]) -> None:
    """Add rows to the table, and replace those whose ids are known.

    Args:
        rows: with all columns.
        features: float32 (n, D).
        backend: the table.
        known: ids of the table.
    """
    is_new = [row["id"] not in known for row in rows]
    mask = torch.tensor(is_new, dtype=torch.bool)
    backend.replace([row for row, new in zip(rows, is_new) if not new], features[~mask])
    backend.insert([row for row, new in zip(rows, is_new) if new], features[mask])


@dataclass
class _Batch:
    """Drawings that are stored together, and the number of those seen since the last batch."""

    embedded: dict[str, tuple[Entry, _FileState]] = field(default_factory=dict)
    relabeled: dict[str, tuple[Entry, _FileState]] = field(default_factory=dict)
    num_seen: int = 0


def _split_batches(
    entries: Sequence[Entry],
    stored: Mapping[str, _StoredState],
    report: IngestReport,
    *,
    is_current: Callable[[str], bool],
) -> Iterator[_Batch]:
    """Yield what is to be done for drawings, in batches."""
    batch, hashed = _Batch(), dict[str, _FileState]()
    for entry in entries:
        name, batch.num_seen = entry.id, batch.num_seen + 1
        if not is_current(entry.path):
            continue
        before = stored.get(name)
        try:
            state = _read_state(entry, before, hashed)
        except OSError as error:
            report.faults.append(f"{entry.path}: cannot be read ({error.strerror}); check its permissions")
            continue
        if before is None or state.sha256 != before.file.sha256:
            batch.embedded[name] = (entry, state)
        elif state != before.file or _compute_digest(entry) != before.digest:
            batch.relabeled[name] = (entry, state)
        else:
            report.num_unchanged += 1
        if len(batch.embedded) >= BATCH_SIZE or len(batch.relabeled) >= BATCH_SIZE:
            yield batch
            batch = _Batch()
    yield batch


def _read_state(entry: Entry, before: _StoredState | None, hashed: dict[str, _FileState]) -> _FileState:
    """Return the state of a file; it is only read if its size or time differs from before.

    Args:
        entry: a page of the file.
        before: the stored state of the page.
        hashed: the state of the file that was read last, by path; its other pages follow.
    """
    status = os.stat(entry.path)
    state = (status.st_size, status.st_mtime_ns)
    if before is not None and state == before.file[:2]:
        return before.file
    if entry.path not in hashed or hashed[entry.path][:2] != state:
        hashed.clear()
        hashed[entry.path] = _FileState(*state, compute_sha256(entry.path))
    return hashed[entry.path]


def _store_batch(
    batch: _Batch,
    stored: Mapping[str, _StoredState],
    backend: Backend,
    *,
    side_data: SideStorage,
    embedder: Embedder,
    report: IngestReport,
) -> None:
    added = format_now()
    if batch.embedded:
        result = embedder.embed_drawings([entry for entry, _ in batch.embedded.values()])
        report.faults += result.faults
        report.num_embedded += len(result.entries)
        side_data.write_thumbnails(result.thumbnails)
        rows = [_make_row(*batch.embedded[entry.id], added=added) for entry in result.entries]
        store_rows(rows, result.features, backend, known=stored.keys())
        readable = {entry.id for entry in result.entries}
        broken = [name for name in batch.embedded if name in stored and name not in readable]
        num = delete_ids(broken, backend, side_data)  # their features are of an earlier content of the file
        report.num_removed += num
        report.notes += (
            [f"{format_count(num, 'drawing')} removed, because the changed file is unreadable"] if num else []
        )
    if batch.relabeled:
        found = backend.get(list(batch.relabeled))
        times = {str(row["id"]): str(row["added"]) for row in found.rows}
        rows = [_make_row(*batch.relabeled[name], added=time) for name, time in times.items()]
        backend.replace(rows, found.vectors)
        report.num_relabeled += len(rows)


def _make_row(entry: Entry, state: _FileState, *, added: str) -> Row:
    system: dict[str, Value] = {
        "id": entry.id,
        "path": entry.path,
        "page": entry.page,
        "source": entry.source,
        "added": added,
        "size_bytes": state.size_bytes,
        "mtime_ns": state.mtime_ns,
        "sha256": state.sha256,
        "digest": _compute_digest(entry),
    }
    return {**entry.metadata, **system}


def _compute_digest(entry: Entry) -> str:
    """Return a digest of the metadata of a drawing."""
    content = json.dumps([entry.source, sorted(entry.metadata.items())], default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
