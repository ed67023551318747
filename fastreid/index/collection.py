"""Searchable collections of drawings: features, metadata and thumbnails in a folder or on a Milvus server.

folder/
|-- collection.json      format, model, sources and settings of the search
|-- lance/               LanceDB table: one row per drawing with its metadata and its feature
|-- thumbnails.sqlite    small images by id, and the ids of removed drawings
`-- .lock                held while a process changes the collection
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreid.engine.predictor_inputs import Page, list_pages
from fastreid.index.columns import ColumnType, Row
from fastreid.index.crop import Crop
from fastreid.index.embedder import Embedder, load_embedder
from fastreid.index.filter_syntax import parse_filter
from fastreid.index.filters import Filter, Not, OneOf, join
from fastreid.index.health import CheckReport, check_collection, compact_collection, describe_collection
from fastreid.index.ingest import IngestReport, add_entries, delete_ids, scan_sources, store_rows
from fastreid.index.manifest import ModelIdentity
from fastreid.index.probability import ProbabilityEstimator
from fastreid.index.records import check_features, convert_records, format_now
from fastreid.index.removal import remove_missing, remove_source_drawings
from fastreid.index.search import Combine, Hit, search_backend
from fastreid.index.sources import find_source
from fastreid.index.stores import Store
from fastreid.utils.errors import InputError

DEFAULT_K = 20


class Collection:
    """A collection of drawings; `fastreid.index.open` and `create` return one.

    Several processes may search at the same time; one that changes the collection waits for another that does.

    Args:
        store: its place.
        model: model to embed with, or its name; None: the model of the collection.

    Attributes:
        uri: its folder or address.
        name: the last part of it.
        manifest: model, sources and settings.

    Raises:
        InputError: there is no collection.
        StorageError: the collection is damaged.
        EnvironmentSetupError: LanceDB is not installed.
        WeightsError: the model computes other features than that of the collection.
    """

    def __init__(self, store: Store, model: str | Embedder | None = None):
        self.uri, self.name = store.uri, store.name
        self._store = store
        self.manifest = store.read_manifest()
        self._model = model or self.manifest.model.name
        self._embedder: Embedder | None = None
        self._backend = store.open_backend(self.manifest.settings)
        self._side_data = store.side_data
        self._probability = ProbabilityEstimator(self.manifest.model, self._backend)
        if model is not None:
            self._probability = ProbabilityEstimator(self.embedder.identity, self._backend)  # checks the model

    @property
    def folder(self) -> Path:
        """Its folder; raises InputError for a collection on a server."""
        return self._store.get_folder()

    @property
    def embedder(self) -> Embedder:
        """The model, loaded when it is first used.

        Raises:
            InputError: there is no such model.
            WeightsError: it computes other features than that of the collection.
        """
        if self._embedder is None:
            embedder = load_embedder(self._model, uri=self.uri, recorded=self.manifest.model.name)
            self.manifest.model.check_equal(embedder.identity, where=self.uri)
            self._embedder = embedder
        return self._embedder

    def columns(self) -> dict[str, ColumnType]:
        """Return the columns of the metadata and their types, which filters can use."""
        return self._backend.columns()

    def add(self, paths: Sequence[str | os.PathLike[str]], *, images: str = "", metadata: str = "") -> IngestReport:
        """Add the drawings of folders, image files and lists that are new or have changed.

        Unreadable files are reported and skipped. The paths are remembered for `update`.

        Args:
            paths: folders, searched with their subfolders; image files; lists: .txt, .csv or .parquet.
            images: folder of the images of the lists; "": as in an earlier addition, or found from each list.
            metadata: .csv or .parquet file with a column `path` or `patent`, and columns of metadata; "": as earlier.

        Raises:
            InputError: a path does not exist or contains no drawing, or a table is invalid.
        """
        sources = [find_source(os.fspath(path), images=images, metadata=metadata) for path in paths]
        embedder, report = self.embedder, IngestReport()
        with self._change():
            known = {source.path: source for source in self.manifest.sources}
            sources = [source.with_defaults(known.get(source.path)) for source in sources]
            entries = scan_sources(sources, self._backend, report)
            for source in sources:
                self.manifest = self.manifest.with_source(source)
            self._store.write_manifest(self.manifest)
            self._side_data.unmark_removed(entry.id for entry in entries)
            add_entries(entries, self._backend, self._side_data, embedder=embedder, report=report)
        return report

    def update(self) -> IngestReport:
        """Read all sources again: add new and changed drawings, remove those that no longer exist.

        Raises:
            InputError: there is no source, or one no longer exists, such as a disk that is not mounted.
        """
        embedder, report = self.embedder, IngestReport()
        with self._change():
            if not self.manifest.sources:
                raise InputError(f"{self.uri}: has no source to update from; add one with `fastreid index add`")
            entries = scan_sources(self.manifest.sources, self._backend, report)
            removed = self._side_data.list_removed()
            kept = [entry for entry in entries if entry.id not in removed]
            report.num_excluded = len(entries) - len(kept)
            add_entries(kept, self._backend, self._side_data, embedder=embedder, report=report)
            remove_missing(kept, self.manifest.sources, self._backend, side_data=self._side_data, report=report)
        return report

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
            self._side_data.mark_removed(names)
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

    def search(
        self,
        pictures: Page | Sequence[Page] = (),
        *,
        ids: Sequence[str] = (),
        features: Tensor | None = None,
        crop: Crop | None = None,
        k: int = DEFAULT_K,
        where: str = "",
        group: str | None = None,
        exclude_patents: Sequence[str] = (),
        combine: Combine = "mean",
        min_score: float = -1.0,
    ) -> list[Hit]:
        """Return the nearest drawings to one object, nearest first.

        Args:
            pictures: one or more pictures of the object, as for `fastreid.Predictor`.
            ids: drawings of the collection that show the object too; they are not results.
            features: of more pictures of it, float32 (n, D), by `embedder`.
            crop: part of each picture to use; None: all of it.
            k: number of results.
            where: filter; "": none.
            group: return only the nearest drawing of each value of this column, such as "patent"; None: all drawings.
            exclude_patents: patents that are not results.
            combine: "mean": search with the mean of the features; "best": order by the best rank over the pictures.
            min_score: smallest score, the cosine, of a result.

        Raises:
            InputError: there is no picture, one cannot be read, an id is unknown, or the filter is invalid.
            WeightsError: the model is not that of the collection.
        """
        nodes = (
            Not(OneOf("id", tuple(ids))) if ids else None,
            Not(OneOf("patent", tuple(exclude_patents))) if exclude_patents else None,
            self._parse(where) if where else None,
        )
        is_none = isinstance(pictures, Sequence) and not isinstance(pictures, str) and not pictures
        parts = [self._backend.get(list(dict.fromkeys(ids))).vectors] if self.get(ids) else []
        if not is_none:
            parts.append(self.embedder.embed_pictures(list_pages(pictures), crop))
        parts += [] if features is None else [features]
        if not parts:
            raise InputError("no query is given; give pictures, ids, or both")
        options: dict[str, Any] = {"group": group, "combine": combine, "min_score": min_score}
        hits = search_backend(self._backend, torch.cat(parts), k, node=join(*nodes), **options)
        return self._probability.add_probabilities(hits)

    def search_features(
        self, features: Tensor, *, model: ModelIdentity, k: int = DEFAULT_K, where: str = "", group: str | None = None
    ) -> list[Hit]:
        """Return the nearest drawings to features of one object, whose mean is the query.

        Args:
            features: float32 (n, D).
            model: the model that computed them.
            k: number of results.
            where: filter; "": none.
            group: as for `search`.

        Raises:
            InputError: the shape or the filter is invalid.
            WeightsError: the model is not that of the collection.
        """
        self.manifest.model.check_equal(model, where=self.uri)
        node = self._parse(where) if where else None
        return self._probability.add_probabilities(search_backend(self._backend, features, k, node=node, group=group))

    def get(self, ids: Sequence[str]) -> list[Row]:
        """Return the metadata of drawings, in the order of the ids.

        Raises:
            InputError: an id is not in the collection.
        """
        if not ids:
            return []
        rows = list(self._backend.get(list(dict.fromkeys(ids))).rows)
        missing = sorted(set(ids) - {str(row["id"]) for row in rows})
        if missing:
            raise InputError(f"{self.uri}: there is no drawing with the id {missing[0]!r}; search prints ids")
        return rows

    def count(self, where: str = "") -> int:
        """Return the number of drawings that fulfill a filter; "": of all."""
        return self._backend.count(self._parse(where) if where else None)

    def thumbnail(self, name: str) -> bytes | None:
        """Return a small image of the drawing with an id, PNG or JPEG; None if there is none."""
        return self._side_data.read_thumbnail(name)

    def compact(self) -> list[str]:
        """Merge small files, build the index if the collection needs one, remove old versions and unused thumbnails.

        Returns:
            The drawings without a thumbnail whose file cannot be read, one line each.
        """
        with self._change():
            return compact_collection(self._backend, self._side_data)

    def check(self) -> CheckReport:
        """Read all rows and return what is inconsistent."""
        return check_collection(self._backend, self._side_data, dim=self.manifest.dim)

    def info(self) -> dict[str, Any]:
        """Return the number of drawings and patents, the model, sources, columns and sizes, as values of JSON."""
        return describe_collection(self.uri, self.manifest, self._backend, self._store.describe())

    def scan(self, columns: Sequence[str], where: str = "") -> Iterator[list[dict[str, Any]]]:
        """Yield some columns of the drawings that fulfill a filter, in blocks; "vector" is the feature."""
        return self._backend.scan(columns, self._parse(where) if where else None)

    def _parse(self, where: str) -> Filter:
        return parse_filter(where, self.columns())

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Hold the lock of the collection, with its newest `collection.json`."""
        with self._store.lock():
            self.manifest = self._store.read_manifest()
            yield
