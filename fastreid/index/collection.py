"""Searchable collections of drawings: features, metadata and thumbnails in a folder or on a Milvus server.

folder/
|-- collection.json      format, model, sources and settings of the search
|-- lance/               LanceDB table: one row per drawing with its metadata and its feature
|-- thumbnails.sqlite    small images by id, and marks of drawings
`-- .lock                held while a process changes the collection
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from torch import Tensor

from fastreid.index.filters import OneOf
from fastreid.index.health import compact_collection
from fastreid.index.ingest import IngestReport, add_entries, delete_ids, scan_sources, store_rows
from fastreid.index.manifest import ModelIdentity, Source
from fastreid.index.query_monitor import NewHit, QueryMonitor
from fastreid.index.reader import CollectionReader
from fastreid.index.records import check_features, convert_records, format_now
from fastreid.index.removal import remove_missing, remove_source_drawings
from fastreid.index.sources import Entry, find_source
from fastreid.utils.errors import InputError


class Collection(CollectionReader):
    """A collection of drawings; `fastreid.index.open` and `create` return one.

    Several processes may search at the same time; one that changes the collection waits for another that does.
    """

    def add(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        images: str = "",
        metadata: str | None = "",
        monitor: QueryMonitor | None = None,
        skip: AbstractSet[str] = frozenset(),
        is_current: Callable[[str], bool] = lambda path: True,
        allow_empty: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> IngestReport:
        """Add the drawings of folders, image files and lists that are new or have changed.

        Unreadable files are reported and skipped. The paths are remembered for `update`.

        Args:
            paths: folders, searched with their subfolders; image files; lists: .txt, .csv or .parquet.
            images: folder of the images of the lists; "": as in an earlier addition, or found from each list.
            metadata: .csv or .parquet file with a column `path` or `patent`, and columns of metadata; "": as earlier;
                None: none, also if there was one earlier.
            monitor: saved queries, checked before the first drawing is embedded; `report_hits` searches them.
            skip: paths of files that are not read.
            is_current: called with the path of a file before it is read; False leaves its drawings as they are.
            allow_empty: whether a path may contain no drawing yet.
            should_stop: called between batches; True ends the addition, which the next one continues.

        Raises:
            InputError: a path does not exist or contains no drawing, or a table or a saved query is invalid.
        """
        sources = [find_source(os.fspath(path), images=images, metadata=metadata or "") for path in paths]
        embedder, report = self.embedder, IngestReport()
        with self._change():
            known = {source.path: source for source in self.manifest.sources}
            sources = [
                source.with_defaults(known.get(source.path), keep_metadata=metadata is not None) for source in sources
            ]
            entries = [
                entry
                for entry in scan_sources(sources, self._backend, report, allow_empty=allow_empty)
                if entry.path not in skip
            ]
            if monitor is not None:
                monitor.prepare(self)
            for source in sources:
                self.manifest = self.manifest.with_source(source)
            self._store.write_manifest(self.manifest)
            self._side_data.unmark("removed", [entry.id for entry in entries])
            options = self._make_options(monitor, is_current=is_current, should_stop=should_stop)
            add_entries(entries, self._backend, self._side_data, embedder=embedder, report=report, **options)
        return report

    def update(
        self,
        *,
        monitor: QueryMonitor | None = None,
        skip: AbstractSet[str] = frozenset(),
        is_current: Callable[[str], bool] = lambda path: True,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> IngestReport:
        """Read all sources again: add new and changed drawings, remove those that no longer exist.

        Args:
            monitor: as for `add`.
            skip: paths of files whose drawings are left as they are; all drawings of a source are left if its path,
                its table of metadata or the folder of its images is among them.
            is_current: as for `add`; also called after a list or a table of metadata was read.
            should_stop: as for `add`.

        Raises:
            InputError: there is no source, or one no longer exists, such as a disk that is not mounted.
        """
        embedder, report = self.embedder, IngestReport()
        with self._change():
            if not self.manifest.sources:
                raise InputError(f"{self.uri}: has no source to update from; add one with `fastreid index add`")
            sources, scanned, skip = self._scan_settled(report, skip, is_current)
            others = OneOf("source", tuple(one.path for one in self.manifest.sources if one not in sources))
            left = {row["id"] for block in self._backend.scan(["id"], others) for row in block} if others.values else {}
            entries = [entry for entry in scanned if entry.path not in skip and entry.id not in left]
            if monitor is not None:
                monitor.prepare(self)
            removed = self._side_data.list_marked("removed")
            kept = [entry for entry in entries if entry.id not in removed]
            report.num_excluded = len(entries) - len(kept)
            options = self._make_options(monitor, is_current=is_current, should_stop=should_stop)
            add_entries(kept, self._backend, self._side_data, embedder=embedder, report=report, **options)
            if not report.is_stopped:
                remove_missing(kept, sources, self._backend, side_data=self._side_data, report=report, skip=skip)
        return report

    def report_hits(self, monitor: QueryMonitor, write: Callable[[Sequence[NewHit]], None]) -> int:
        """Search saved queries in the drawings that additions with a monitor brought, and report each hit once.

        Args:
            monitor: the queries; an addition has prepared it.
            write: stores or prints the hits, best first for each query; called only if there are any. If it raises,
                the hits are reported again the next time.

        Returns:
            The number of hits.
        """
        with self._change():
            hits = monitor.find_hits(self, self._side_data)
            if hits:
                write(hits)
            monitor.confirm_hits(hits, self._side_data)
        return len(hits)

    def add_features(self, features: Tensor, rows: Sequence[Mapping[str, Any]], *, model: ModelIdentity) -> None:
        """Add drawings whose features were computed elsewhere; rows with known ids are replaced.

        Args:
            features: float32 (n, D).
            rows: metadata by column for each drawing, with its `id`; a new column gets the type of its values.
            model: the model that computed the features.

        Raises:
            InputError: the shape, an id or a value is invalid.
            NumericalError: a feature is NaN, Inf or zero, or its norm is out of range.
            WeightsError: the model is not that of the collection.
        """
        self.manifest.model.check_equal(model, where=self.uri)
        check_features(features, len(rows), self.manifest.dim)
        with self._change():
            converted, new = convert_records(rows, self.columns(), added=format_now())
            self._backend.add_columns(new)
            known = {row["id"] for block in self._backend.scan(["id"]) for row in block}
            store_rows(converted, features, self._backend, known=known)
            self._backend.maintain(thoroughly=False)

    def remove(self, *, ids: Sequence[str] = (), where: str = "") -> int:
        """Remove drawings, which an update does not add again; `add` of their path does.

        Args:
            ids: ids of drawings.
            where: filter; "": none. Drawings that have one of the ids or fulfill the filter are removed.

        Returns:
            The number of removed drawings.

        Raises:
            InputError: an id is not in the collection, or the filter is invalid.
        """
        with self._change():
            names = [str(row["id"]) for row in self.get(ids)]
            if where:
                node = self._parse(where)
                names += [str(row["id"]) for block in self._backend.scan(["id"], node) for row in block]
            names = list(dict.fromkeys(names))
            self._side_data.mark("removed", names)
            return delete_ids(names, self._backend, self._side_data)

    def remove_source(self, path: str | os.PathLike[str]) -> int:
        """Remove a source and its drawings that no other source contains, and return their number.

        Raises:
            InputError: the path is no source of the collection.
        """
        with self._change():
            absolute = os.path.abspath(path)
            self.manifest.check_source(absolute, where=self.uri)
            self.manifest = self.manifest.without_sources({absolute})
            num = remove_source_drawings(absolute, self.manifest.sources, self._backend, self._side_data)
            self._store.write_manifest(self.manifest)
            return num

    def compact(self) -> list[str]:
        """Merge small files, build the index if the collection needs one, remove old versions and unused thumbnails.

        Returns:
            The drawings without a thumbnail whose file cannot be read, one line each.
        """
        with self._change():
            return compact_collection(self._backend, self._side_data)

    def discard(self) -> None:
        """Delete the collection if it has no drawing and no source, such as after a first addition that failed."""
        with self._change():
            if not self.count() and not self.manifest.sources:
                self._store.delete()

    def _scan_settled(
        self, report: IngestReport, skip: AbstractSet[str], is_current: Callable[[str], bool]
    ) -> tuple[list[Source], list[Entry], AbstractSet[str]]:
        """Return the sources, their drawings, and what is skipped with the lists and tables that have just changed."""
        while True:
            sources = [one for one in self.manifest.sources if not {one.path, one.metadata, one.images} & skip]
            entries = scan_sources(sources, self._backend, report)
            files = {path for one in sources for path in (one.path, one.metadata) if os.path.isfile(path)}
            changed = {path for path in files if not is_current(path)}
            if not changed:
                return sources, entries, skip
            skip = skip | changed
            report.faults, report.notes = [], []

    def _make_options(
        self, monitor: QueryMonitor | None, *, is_current: Callable[[str], bool], should_stop: Callable[[], bool]
    ) -> dict[str, Any]:
        """Return options of `add_entries`."""
        options: dict[str, Any] = {"is_current": is_current, "should_stop": should_stop}
        if monitor is not None:
            options["mark_new"] = functools.partial(monitor.mark_new, side_data=self._side_data)
        return options

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Hold the lock of the collection, with its newest `collection.json`."""
        with self._store.lock():
            self.manifest = self._store.read_manifest()
            yield
