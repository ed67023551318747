"""The collection behind the routes: threads that decode, compute, search, read and change it."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

import fastreid.index
from fastreid.index import Collection, Hit
from fastreid.index.manifest import Source
from fastreid.index.sources import LIST_SUFFIXES
from fastreid.service.batching import FeatureBatcher
from fastreid.service.cache import BoundedCache
from fastreid.service.comparison import Comparer, Workers
from fastreid.service.errors import ServiceError
from fastreid.service.metrics import Metrics
from fastreid.service.pictures import Picture
from fastreid.service.settings import ServiceSettings
from fastreid.utils.logger import get_logger

INFO_S = 5.0  # how long the properties of the collection are remembered
_READERS = 4
# Threads that compare pages, and pictures whose local features are computed at once: with 4 and 8, eight parallel
# comparisons of pages of 2560 x 3300 px needed 235 MB more on a CPU, and were not faster.
_COMPARERS, _LOCAL_BATCH = 2, 2
_FEATURE_CACHE_BYTES = 16_000_000
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Service:
    """A collection that many requests use at once.

    The network and the search each have one thread, because torch uses all cores for one call. Changes use a second
    `Collection` with its own network, so that searches continue.

    Args:
        collection: the collection.
        settings: limits.
        metrics: gets times.
    """

    def __init__(self, collection: Collection, settings: ServiceSettings, metrics: Metrics):
        self.collection, self.settings, self.metrics = collection, settings, metrics
        self.failure: Exception | None = None
        self.is_ready = False
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, "decode")
        self._pdfs = ThreadPoolExecutor(1, "pdf")  # PDFium has one thread, for which other pictures do not wait
        self._readers = ThreadPoolExecutor(_READERS, "read")
        self._comparers = ThreadPoolExecutor(_COMPARERS, "compare")
        self._network, self._search, self._writer = (ThreadPoolExecutor(1, name) for name in ("net", "search", "write"))
        self._batcher: FeatureBatcher[tuple[Tensor, Tensor]] | None = None
        self._local_batcher: FeatureBatcher[Tensor] | None = None
        self._features: BoundedCache[Tensor] = BoundedCache(_FEATURE_CACHE_BYTES)  # of uploads: more pages of results
        self.comparer = Comparer(collection, Workers(self._decode, self.read, self._compare, self._compute_local))
        self._info: tuple[float, dict[str, Any]] | None = None
        self._changed: Collection | None = None

    @contextlib.asynccontextmanager
    async def run(self, on_failure: Callable[[], None]) -> AsyncIterator[None]:
        """Load the model in the background, and compute batches until the block ends.

        Args:
            on_failure: called if the model cannot be loaded; `failure` has the reason.
        """
        options: dict[str, Any] = {
            "max_pictures": self.settings.max_batch,
            "wait_s": self.settings.batch_wait_s,
        }
        self._batcher = FeatureBatcher(
            lambda pictures: self.collection.embedder.embed_prepared(pictures), self._network, self.metrics, **options
        )
        self._local_batcher = FeatureBatcher(
            lambda levels: self.collection.embedder.compute_local(levels),
            self._network,
            self.metrics,
            **{**options, "max_pictures": min(_LOCAL_BATCH, self.settings.max_batch)},
        )
        work = (self._batcher.run(), self._local_batcher.run(), self._load(on_failure))
        tasks = [asyncio.create_task(coroutine) for coroutine in work]
        try:
            yield
        finally:
            self.is_ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            readers = (self._decoders, self._pdfs, self._readers, self._comparers)
            for executor in (*readers, self._network, self._search, self._writer):
                executor.shutdown(wait=False, cancel_futures=True)

    async def _load(self, on_failure: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._network, lambda: self.collection.embedder.predictor)
            probe = torch.ones(1, self.collection.manifest.dim)
            await loop.run_in_executor(self._search, lambda: self.collection.search(features=probe, k=1))
        except Exception as error:  # reported by the server, which stops
            self.failure = error
            on_failure()
            return
        self.is_ready = True
        self.metrics.ready.set(1)
        get_logger().info(f"ready: {self.collection.uri} is loaded")

    @property
    def model_name(self) -> str:
        """Name of the model; of a model directory without the folders of the server that contain it."""
        name = self.collection.manifest.model.name
        return os.path.basename(name) if os.path.isabs(name) else name

    @property
    def sources(self) -> tuple[Source, ...]:
        """What was added to the collection by path, with the additions of this service."""
        return (self._changed or self.collection).manifest.sources

    @property
    def hidden_paths(self) -> list[str]:
        """Paths of the server that messages may contain, and of which clients see only the last part."""
        folder, model = os.path.abspath(self.collection.uri), self.collection.manifest.model.name
        paths = [self.collection.uri, folder, folder.lstrip("/")]  # LanceDB writes paths without the first slash
        paths += [model] if os.path.isabs(model) else []
        paths += [] if self.settings.uploads is None else [os.path.abspath(self.settings.uploads)]
        for source in self.sources:
            paths += [source.path, source.images, source.metadata]
            paths += [os.path.dirname(source.path)] if source.path.endswith(LIST_SUFFIXES) else []
        return paths

    def check_ready(self) -> None:
        """Check that searches are possible.

        Raises:
            ServiceError: the model is still loading, or the server stops.
        """
        if not self.is_ready:
            raise ServiceError(503, "not_ready", "the model is loading; try again in a few seconds", retry_after_s=2)

    async def search(self, features: Tensor | None, ids: Sequence[str], **options: Any) -> tuple[list[Hit], int]:
        """Return the nearest drawings, and the version of the collection; arguments as for `Collection.search`.

        Raises:
            InputError: an id or option is invalid.
        """
        loop = asyncio.get_running_loop()

        def search() -> tuple[list[Hit], int]:
            with self.metrics.search_s.time():
                version = self.collection.version
                return self.collection.search(ids=list(ids), features=features, **options), version

        return await loop.run_in_executor(self._search, search)

    async def embed(self, pictures: Sequence[Picture]) -> Tensor:
        """Return the features of pictures, those of equal pictures from the cache, float32 (n, D).

        Raises:
            InputError: a picture cannot be read.
        """
        self.check_ready()
        keys = await asyncio.gather(*(self._decode(picture, Picture.compute_key) for picture in pictures))
        known = {key: features for key in keys if (features := self._features.get(key)) is not None}
        missing = {key: picture for key, picture in zip(keys, pictures) if key not in known}
        if missing:
            embedder = self.collection.embedder
            prepared = await asyncio.gather(
                *(self._decode(picture, lambda picture: picture.prepare(embedder)) for picture in missing.values())
            )
            for key, features in zip(missing, await _get_running(self._batcher).compute(prepared), strict=True):
                known[key] = features.clone()  # not a view of the whole batch
                self._features.put(key, known[key], num_bytes=features.numel() * features.element_size())
        return torch.stack([known[key] for key in keys])

    async def _decode(self, picture: Picture, function: Callable[[Picture], _T]) -> _T:
        """Call a function with an uploaded picture, in a thread."""
        executor = self._pdfs if picture.is_pdf else self._decoders
        return await asyncio.get_running_loop().run_in_executor(executor, function, picture)

    async def _compare(self, function: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._comparers, function, *args)

    async def _compute_local(self, levels: Sequence[Tensor]) -> Tensor:
        return await _get_running(self._local_batcher).compute(levels)

    async def read(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function that only reads the collection, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: function(*args, **kwargs))

    async def change(self, function: Callable[[Collection], _T]) -> _T:
        """Call a function that changes the collection, one at a time, in a thread."""
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self._writer, lambda: function(self._open_for_changes()))
        self._info = None
        return result

    def _open_for_changes(self) -> Collection:
        if self._changed is None:
            model = self.collection.embedder.name
            self._changed = fastreid.index.open(self.collection.uri, model=model)
        return self._changed

    async def get_info(self) -> dict[str, Any]:
        """Return the properties of the collection, at most INFO_S old."""
        if self._info is None or time.monotonic() - self._info[0] > INFO_S:
            self._info = time.monotonic(), await self.read(self.collection.info)
        return self._info[1]


def _get_running(batcher: FeatureBatcher[_T] | None) -> FeatureBatcher[_T]:
    if batcher is None:
        raise ServiceError(503, "not_ready", "the service is not running", retry_after_s=2)
    return batcher
