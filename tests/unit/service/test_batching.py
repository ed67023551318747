"""Pictures of concurrent requests are computed together, each request gets its own features."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from fastreid.service.batching import FeatureBatcher
from fastreid.service.metrics import Metrics
from fastreid.utils.errors import NumericalError


def make_picture(value):
    return torch.full((1, 2, 2), value, dtype=torch.uint8), torch.zeros(1)


class Network:
    """Returns the first level of each picture; the first batch waits until `release` is set."""

    def __init__(self):
        self.sizes, self.release, self.started = [], threading.Event(), threading.Event()

    def __call__(self, pictures):
        self.sizes.append(len(pictures))
        self.started.set()
        assert self.release.wait(30)
        values = [float(levels[0, 0, 0]) for levels, _ in pictures]
        if 99.0 in values:
            raise NumericalError("the network failed")
        return torch.tensor(values)[:, None]


def run_batches(network, body, **options):
    """Run a coroutine with a batcher in front of a network."""

    async def main():
        with ThreadPoolExecutor(1) as executor:
            options_used = {"max_pictures": 4, "wait_s": 0.0, **options}
            batcher = FeatureBatcher(network, executor, Metrics(), **options_used)
            task = asyncio.create_task(batcher.run())
            try:
                await asyncio.wait_for(body(batcher), 30)
            finally:
                network.release.set()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


async def start_requests(batcher, network, requests):
    """Start a first request, wait until it is computed, start others meanwhile, and return all tasks."""
    tasks = [asyncio.create_task(batcher.compute([make_picture(1)]))]
    while not network.started.is_set():
        await asyncio.sleep(0.001)
    tasks += [asyncio.create_task(batcher.compute([make_picture(value) for value in values])) for values in requests]
    await asyncio.sleep(0.02)
    return tasks


def test_requests_that_wait_are_one_batch():
    network = Network()

    async def body(batcher):
        tasks = await start_requests(batcher, network, [[2], [3, 4], [5, 6], [7, 8, 9, 10, 11]])
        network.release.set()
        features = [part.flatten().tolist() for part in await asyncio.gather(*tasks)]
        assert features == [[1.0], [2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0, 9.0, 10.0, 11.0]]

    run_batches(network, body)
    assert network.sizes == [1, 3, 2, 5]


def test_incomplete_batch_waits_a_moment():
    network = Network()
    network.release.set()

    async def body(batcher):
        await asyncio.gather(*(batcher.compute([make_picture(value)]) for value in range(4)))

    run_batches(network, body, wait_s=10.0)
    assert network.sizes == [4]


def test_failure_reaches_the_requests_of_the_batch_only():
    network = Network()

    async def body(batcher):
        tasks = await start_requests(batcher, network, [[2, 3, 4], [99]])
        network.release.set()
        assert len(await tasks[0]) == 1
        for task in tasks[1:]:
            with pytest.raises(NumericalError, match="the network failed"):
                await task
        assert (await batcher.compute([make_picture(5)])).item() == 5

    run_batches(network, body)


def test_canceled_requests_are_not_computed():
    network = Network()

    async def body(batcher):
        tasks = await start_requests(batcher, network, [[2], [3]])
        tasks[1].cancel()
        network.release.set()
        assert (await tasks[2]).item() == 3

    run_batches(network, body)
    assert network.sizes == [1, 1]
