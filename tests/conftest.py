"""Set one thread per process for torch and numpy before they are imported.

pytest-xdist starts a process for each core. Small networks took several times as long with two threads per process,
because threads that wait for each other occupy the cores of other processes. A value in the environment has priority.
"""

import gc
import logging
import os
import sys

import pytest

if not any("benchmark" in argument for argument in sys.argv):  # these measure what users have
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Start one worker more than there are cores if these are few: a third of the time, a test waits for processes."""
    num_workers = yield
    is_chosen = "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ
    return num_workers if is_chosen or num_workers > 3 else num_workers + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Collect the tests without garbage collection, and keep it away from the imported packages afterwards.

    They are 800,000 objects; visiting them again and again took a third of the time of a collection of the tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    """Remove what a test has added to the logger of the package; later tests would write to the log of that test."""
    try:
        return (yield)
    finally:
        logger = logging.getLogger("fastreid")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    """Return the address of a Milvus Lite server."""
    pytest.importorskip("pymilvus", reason="the extra `milvus` is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    from milvus_server import start_milvus_server

    with start_milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address
