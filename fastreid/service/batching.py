"""Compute the features of concurrent requests together: one batch of the network for many pictures."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from fastreid.service.metrics import Metrics

_P = TypeVar("_P")  # a prepared picture


@dataclass(frozen=True)
class _Job(Generic[_P]):
    pictures: Sequence[_P]
    result: "asyncio.Future[Tensor]"


class FeatureBatcher(Generic[_P]):
    """A queue in front of the network; while a batch is computed, the next one fills.

    Args:
        compute: features float32 (n, ...) of n pictures.
        executor: runs `compute`, one call at a time.
        metrics: gets the sizes and times of batches.
        max_pictures: of a batch, unless a single request has more.
        wait_s: how long an incomplete batch waits for more pictures.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[_P]], Tensor],
        executor: Executor,
        metrics: Metrics,
        *,
        max_pictures: int,
        wait_s: float,
    ):
        self._compute, self._executor, self._metrics = compute, executor, metrics
        self._max_pictures, self._wait_s = max_pictures, wait_s
        self._queue: asyncio.Queue[_Job[_P]] = asyncio.Queue()
        self._next: _Job[_P] | None = None  # does not fit into the batch before it

    async def compute(self, pictures: Sequence[_P]) -> Tensor:
        """Return the features of the pictures of a request, float32 (n, ...).

        Raises:
            FastreidError: the network failed; all requests of the batch fail.
        """
        job = _Job(pictures, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        return await job.result

    async def run(self) -> None:
        """Compute batches until the task is canceled."""
        while True:
            jobs = [job for job in await self._collect() if not job.result.done()]  # without those that timed out
            if jobs:
                await self._compute_batch(jobs)

    async def _collect(self) -> list[_Job[_P]]:
        """Return the jobs of the next batch."""
        jobs = [self._next or await self._queue.get()]
        self._next = None
        num, end = len(jobs[0].pictures), time.monotonic() + self._wait_s
        while num < self._max_pictures:
            try:
                left_s = end - time.monotonic()
                job = self._queue.get_nowait() if left_s <= 0 else await asyncio.wait_for(self._queue.get(), left_s)
            except (asyncio.QueueEmpty, asyncio.TimeoutError):
                break
            if num + len(job.pictures) > self._max_pictures:
                self._next = job
                break
            jobs.append(job)
            num += len(job.pictures)
        return jobs

    async def _compute_batch(self, jobs: Sequence[_Job[_P]]) -> None:
        pictures = [picture for job in jobs for picture in job.pictures]
        self._metrics.batch_size.observe(len(pictures))
        try:
            with self._metrics.network_s.time():
                loop = asyncio.get_running_loop()
                features = await loop.run_in_executor(self._executor, self._compute, pictures)
        except Exception as error:  # passed on to the requests
            for job in jobs:
                if not job.result.done():
                    job.result.set_exception(error)
            return
        start = 0
        for job in jobs:
            if not job.result.done():
                job.result.set_result(features[start : start + len(job.pictures)])
            start += len(job.pictures)
