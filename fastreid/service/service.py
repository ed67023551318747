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
from fastreid.service.batching import FeatureBatcher
from fastreid.service.errors import ServiceError
from fastreid.service.metrics import Metrics
from fastreid.service.pictures import Picture
from fastreid.service.settings import ServiceSettings
from fastreid.utils.logger import get_logger

INFO_S = 5.0  # how long the properties of the collection are remembered
_READERS = 4
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
        self._network, self._search, self._writer = (ThreadPoolExecutor(1, name) for name in ("net", "search", "write"))
        self._batcher: FeatureBatcher | None = None
        self._info: tuple[float, dict[str, Any]] | None = None
        self._changed: Collection | None = None

    @contextlib.asynccontextmanager
    async def run(self, on_failure: Callable[[], None]) -> AsyncIterator[None]:
        """Load the model in the background, and compute batches until the block ends.

        Args:
            on_failure: called if the model cannot be loaded; `failure` has the reason.
        """
        self._batcher = FeatureBatcher(
            lambda pictures: self.collection.embedder.embed_prepared(pictures),
            self._network,
            self.metrics,
            max_pictures=self.settings.max_batch,
            wait_s=self.settings.batch_wait_s,
        )
        tasks = [asyncio.create_task(self._batcher.run()), asyncio.create_task(self._load(on_failure))]
        try:
            yield
        finally:
            self.is_ready = False
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for executor in (self._decoders, self._pdfs, self._readers, self._network, self._search, self._writer):
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

    def check_ready(self) -> None:
        """Check that searches are possible.

        Raises:
            ServiceError: the model is still loading, or the server stops.
        """
        if not self.is_ready:
            raise ServiceError(503, "not_ready", "the model is loading; try again in a few seconds", retry_after_s=2)

    async def search(self, pictures: Sequence[Picture], ids: Sequence[str], **options: Any) -> list[Hit]:
        """Return the nearest drawings; arguments as for `Collection.search`.

        Raises:
            InputError: a picture cannot be read, or an id or option is invalid.
        """
        features = await self._embed(pictures) if pictures else None
        loop = asyncio.get_running_loop()

        def search() -> list[Hit]:
            with self.metrics.search_s.time():
                return self.collection.search(ids=list(ids), features=features, **options)

        return await loop.run_in_executor(self._search, search)

    async def _embed(self, pictures: Sequence[Picture]) -> Tensor:
        self.check_ready()
        loop, embedder = asyncio.get_running_loop(), self.collection.embedder
        prepared = await asyncio.gather(
            *(
                loop.run_in_executor(self._pdfs if picture.is_pdf else self._decoders, picture.prepare, embedder)
                for picture in pictures
            )
        )
        if self._batcher is None:
            raise ServiceError(503, "not_ready", "the service is not running", retry_after_s=2)
        return await self._batcher.compute(prepared)

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
