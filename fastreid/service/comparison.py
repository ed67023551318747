"""Compare two drawings: which lines of them match, computed once per drawing and pair."""

import base64
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from fastreid.index import Collection, SimilarityMap
from fastreid.index.columns import Row
from fastreid.index.similarity_map import LocalDrawing, map_similarity, prepare_local_drawing
from fastreid.service.cache import BoundedCache
from fastreid.service.errors import ServiceError
from fastreid.service.pictures import Picture
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import join_page_address

_MAX_BYTES = 64_000_000  # of drawings and of answers, each


class Run(Protocol):
    """Calls a function in a thread."""

    def __call__(self, function: Callable[..., Any], /, *args: Any) -> Awaitable[Any]: ...


@dataclass(frozen=True)
class Workers:
    """The threads of the service.

    Args:
        decode: calls a function with a picture in a thread that decodes.
        read: calls a function in a thread that reads the collection.
        compare: calls a function in one of few threads, because large pages and their maps need much memory.
        compute: returns the local features of images, float32 (n, C, H', W').
    """

    decode: Callable[[Picture, Callable[[Picture], Any]], Awaitable[Any]]
    read: Run
    compare: Run
    compute: Callable[[Sequence[Tensor]], Awaitable[Tensor]]


class Comparer:
    """Compares drawings of a collection and uploads.

    Args:
        collection: the collection.
        workers: the threads of the service.
    """

    def __init__(self, collection: Collection, workers: Workers):
        self._collection, self._workers = collection, workers
        self._drawings: BoundedCache[tuple[LocalDrawing, Tensor]] = BoundedCache(_MAX_BYTES)
        self._answers: BoundedCache[list[dict[str, Any]]] = BoundedCache(_MAX_BYTES)

    async def compare(self, pictures: Sequence[Picture], ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the maps of two drawings, the pictures first, with images as data URLs.

        Raises:
            ServiceError: the file of a drawing cannot be read.
            InputError: a picture cannot be read, or an id is unknown.
        """
        rows: list[Row] = [(await self._workers.read(self._collection.get, [name]))[0] for name in ids]
        keys: list[Any] = [await self._workers.decode(picture, Picture.compute_key) for picture in pictures]
        keys += [("id", row["id"], await self._workers.read(read_file_state, row)) for row in rows]
        known = self._answers.get(tuple(keys))
        if known is None:
            parts = [await self._prepare_picture(picture, key) for picture, key in zip(pictures, keys)]
            parts += [await self._prepare_row(row, key) for row, key in zip(rows, keys[len(pictures) :], strict=True)]
            known = await self._workers.compare(_make_answer, *parts)
            self._answers.put(tuple(keys), known, num_bytes=sum(len(drawing["image"]) for drawing in known))
        names = [{"name": picture.name, "id": None} for picture in pictures]
        names += [{"name": "", "id": name} for name in ids]
        return [{**name, **drawing} for name, drawing in zip(names, known, strict=True)]

    async def _prepare_picture(self, picture: Picture, key: Any) -> tuple[LocalDrawing, Tensor]:
        embedder = self._collection.embedder

        def prepare(picture: Picture) -> LocalDrawing:
            return prepare_local_drawing(embedder, picture.decode(embedder))

        return await self._add_features(key, lambda: self._workers.decode(picture, prepare))

    async def _prepare_row(self, row: Row, key: Any) -> tuple[LocalDrawing, Tensor]:
        return await self._add_features(key, lambda: self._workers.compare(self._read_row, row))

    async def _add_features(self, key: Any, prepare: Callable[[], Awaitable[Any]]) -> tuple[LocalDrawing, Tensor]:
        known = self._drawings.get(key)
        if known is None:
            drawing: LocalDrawing = await prepare()
            features = (await self._workers.compute([drawing.levels]))[0].clone()  # not a view of the whole batch
            known = drawing, features
            num_bytes = drawing.num_bytes + features.numel() * features.element_size()
            self._drawings.put(key, known, num_bytes=num_bytes)
        return known

    def _read_row(self, row: Row) -> LocalDrawing:
        path, page = str(row.get("path") or ""), int(str(row.get("page") or 1))
        try:
            pixels = self._collection.embedder.load_page(path if page == 1 else join_page_address(path, page - 1))
        except InputError:
            message = f"the file of the drawing {row['id']!r} cannot be read, so it cannot be compared"
            raise ServiceError(404, "not_found", message)
        return prepare_local_drawing(self._collection.embedder, pixels)


def read_file_state(row: Row) -> tuple[int, int] | None:
    """Return what changes with the content of the file of a drawing: its size and time; None: it cannot be read."""
    try:
        found = os.stat(str(row.get("path") or ""))
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _make_answer(first: tuple[LocalDrawing, Tensor], second: tuple[LocalDrawing, Tensor]) -> list[dict[str, Any]]:
    return [_describe_map(drawing) for drawing in map_similarity(first, second)]


def _describe_map(drawing: SimilarityMap) -> dict[str, Any]:
    regions = [
        [{"ink": round(ink, 4), "matched": round(matched, 4)} for ink, matched in row]
        for row in drawing.summarize_regions()
    ]
    height, width = drawing.values.shape
    image = f"data:image/png;base64,{base64.b64encode(drawing.render()).decode('ascii')}"
    return {
        "width": width,
        "height": height,
        "matched": round(drawing.matched, 4),
        "regions": regions,
        "image": image,
    }
