"""A nursery of runs, and runs that were never stopped to compare with."""

import time

import pytest
from run_server import Nursery


@pytest.fixture(scope="session")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    return tmp_path_factory.mktemp("drawings")


@pytest.fixture(scope="session")
def never_stopped(nursery, drawings, tmp_path_factory):
    """By the number of workers: the folder of a run of both stages, and its seconds from the first checkpoint on."""
    runs = {}

    def run(workers):
        if workers not in runs:
            folder = tmp_path_factory.mktemp("never_stopped")
            process = nursery.start(folder, root=drawings, workers=workers)
            nursery.wait_for(folder / "one/last_checkpoint", process)
            start = time.monotonic()
            assert nursery.wait(process) == 0
            runs[workers] = folder, time.monotonic() - start
        return runs[workers]

    return run
