"""What processes that search a collection need: the model, queries, metadata, thumbnails, and checks."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreid.engine.predictor_inputs import Page, list_pages
from fastreid.index.columns import SINGLE_COLUMNS, ColumnType, Row, Value, list_names, parse_value, split_values
from fastreid.index.crop import Crop
from fastreid.index.embedder import Embedder, load_embedder
from fastreid.index.filter_syntax import parse_filter
from fastreid.index.filters import And, Comparison, Filter, Not, OneOf, join
from fastreid.index.group_counts import count_drawings, count_similar_drawings
from fastreid.index.health import CheckReport, check_collection, describe_collection
from fastreid.index.manifest import ModelIdentity, Source
from fastreid.index.probability import ProbabilityEstimator
from fastreid.index.refinement import Refinement
from fastreid.index.search import Combine, Hit, combine_queries, search_backend
from fastreid.index.stores import Store
from fastreid.utils.errors import InputError, describe_unknown

DEFAULT_K = 20


class CollectionReader:
    """The part of a collection that changes nothing; `Collection` adds the rest.

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

    @property
    def version(self) -> int:
        """A number that each change of the drawings increases."""
        return self._backend.read_version()

    def columns(self) -> dict[str, ColumnType]:
        """Return the columns of the metadata and their types, which filters can use."""
        return self._backend.columns()

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
        among: Sequence[str] | None = None,
        exclude_families: Sequence[str] = (),
        exclude_own: bool = False,
        refinement: Refinement | None = None,
        within: tuple[str, str] | None = None,
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
            among: ids of the drawings to search among; None: all.
            exclude_families: values of the column family that results do not have.
            exclude_own: leave out the patents and families of the drawings with the ids.
            refinement: how the best results are ordered; None: by score.
            within: a column and a text, the value that all results have in it; None: any.

        Raises:
            InputError: there is no picture, one cannot be read, an id is unknown, or the filter is invalid.
            WeightsError: the model is not that of the collection.
        """
        nodes = (
            Not(OneOf("id", tuple(ids))) if ids else None,
            self._exclude("patent", exclude_patents),
            self._exclude("family", exclude_families),
            *(self._exclude_own(ids) if exclude_own else ()),
            self._parse(where) if where else None,
            None if among is None else OneOf("id", tuple(among)),
            None if within is None else self._select(*within),
        )
        is_none = isinstance(pictures, Sequence) and not isinstance(pictures, str) and not pictures
        parts = [self.read_features(ids)] if ids else []
        if not is_none:
            parts.append(self.embedder.embed_pictures(list_pages(pictures), crop))
        parts += [] if features is None else [features]
        if not parts:
            raise InputError("no query is given; give pictures, ids, or both")
        options: dict[str, Any] = {"group": group, "combine": combine, "min_score": min_score}
        options["refinement"] = refinement
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

    def read_features(self, ids: Sequence[str]) -> Tensor:
        """Return the features of drawings, float32 (n, D), in the order of the ids, each once.

        Raises:
            InputError: an id is not in the collection.
        """
        self.get(ids)
        return self._backend.get(list(dict.fromkeys(ids))).vectors if ids else torch.empty(0, self.manifest.dim)

    def count(self, where: str = "") -> int:
        """Return the number of drawings that fulfill a filter; "": of all."""
        return self._backend.count(self._parse(where) if where else None)

    def thumbnail(self, name: str) -> bytes | None:
        """Return a small image of the drawing with an id, PNG or JPEG; None if there is none."""
        return self._side_data.read_thumbnail(name)

    def check_filter(self, where: str) -> None:
        """Check a filter; "" is none.

        Raises:
            InputError: it is invalid.
        """
        if where:
            self._parse(where)

    def has_probabilities(self) -> bool:
        """Return whether results have probabilities: whether the model has a calibration for its weights."""
        return self._probability.has_calibration()

    def read_sources(self) -> tuple[Source, ...]:
        """Return what was added by path, also by other processes since the collection was opened."""
        return self._store.read_manifest().sources

    def check(self) -> CheckReport:
        """Read all rows and return what is inconsistent."""
        return check_collection(self._backend, self._side_data, dim=self.manifest.dim)

    def info(self) -> dict[str, Any]:
        """Return the number of drawings and patents, the model, sources, columns and sizes, as values of JSON."""
        return describe_collection(self.uri, self.manifest, self._backend, self._store.describe())

    def scan(self, columns: Sequence[str], where: str = "") -> Iterator[list[dict[str, Any]]]:
        """Yield some columns of the drawings that fulfill a filter, in blocks; "vector" is the feature."""
        return self._backend.scan(columns, self._parse(where) if where else None)

    def count_groups(
        self,
        column: str,
        values: Collection[Value],
        *,
        where: str = "",
        exclude_patents: Sequence[str] = (),
        exclude_families: Sequence[str] = (),
        exclude_own: bool = False,
        ids: Sequence[str] = (),
        features: Tensor | None = None,
        combine: Combine = "mean",
        min_score: float = -1.0,
    ) -> Counter[Value]:
        """Return the number of drawings of each of some values of a column.

        Args:
            column: the column.
            values: of its type.
            where: filter of the drawings that count; "": none.
            exclude_patents: patents whose drawings do not count.
            exclude_families: families whose drawings do not count.
            exclude_own: leave out the patents and families of the drawings with the ids.
            ids: drawings that do not count.
            features: with `ids` the query of `min_score`, float32 (n, D).
            combine: as for `search`.
            min_score: smallest score of a drawing that counts; -1: all count.

        Raises:
            InputError: the filter is invalid.
        """
        nodes = (
            OneOf(column, tuple(dict.fromkeys(part for value in values for part in split_values(column, value)))),
            self._exclude("patent", exclude_patents),
            self._exclude("family", exclude_families),
            *(self._exclude_own(ids) if exclude_own else ()),
            self._parse(where) if where else None,
        )
        if min_score <= -1:
            return count_drawings(self._backend, column, join(*nodes), without=ids)
        parts = [self.read_features(ids), *([] if features is None else [features])]
        queries = combine_queries(torch.cat(parts), combine)
        options: dict[str, Any] = {"queries": queries, "min_score": min_score}
        return count_similar_drawings(self._backend, column, join(*nodes), without=ids, **options)

    def _select(self, column: str, text: str) -> Filter:
        """Return the filter that a column has the value of a text, of several values exactly these."""
        columns = self.columns()
        if column not in columns:
            raise InputError(describe_unknown("the column of group", column, list_names(columns)))
        try:
            value = parse_value(text, columns[column])
        except InputError as error:
            raise InputError(f"{column}: {error}")
        if column in SINGLE_COLUMNS or not isinstance(value, str):
            return Comparison(column, "=", value)
        return And((Comparison(column, ">=", value), Comparison(column, "<=", value)))  # order compares whole texts

    def _exclude(self, column: str, values: Sequence[str]) -> Filter | None:
        """Return the filter that a column has none of some values; None without values."""
        if not values:
            return None
        kind = self.columns().get(column)
        if kind is None:
            raise InputError(f"{self.uri}: has no column {column}; add it with a table of metadata (--metadata)")
        try:
            return Not(OneOf(column, tuple(parse_value(value, kind) for value in values)))
        except InputError as error:
            raise InputError(f"{column}: {error}")

    def _exclude_own(self, ids: Sequence[str]) -> list[Filter | None]:
        """Return the filters that exclude the patents and families of some drawings."""
        rows = self.get(ids)
        if not rows:
            raise InputError("exclude_own leaves out the patents of the drawings of the query; give their ids")
        own = {
            column: {
                part for row in rows if (value := row.get(column)) is not None for part in split_values(column, value)
            }
            for column in ("patent", "family")
        }
        return [Not(OneOf(column, tuple(sorted(values, key=str)))) for column, values in own.items() if values]

    def _parse(self, where: str) -> Filter:
        return parse_filter(where, self.columns())
