"""Set one thread per process for torch and numpy before they are imported.

pytest-xdist starts a process for each core. Small networks took several times as long with two threads per process,
because threads that wait for each other occupy the cores of other processes. A value in the environment has priority.
"""

import os
import sys

import pytest

if not any("benchmark" in argument for argument in sys.argv):  # these measure what users have
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory):
    """Return the address of a Milvus Lite server."""
    pytest.importorskip("pymilvus", reason="the extra `milvus` is not installed")
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
    from milvus_server import start_milvus_server

    with start_milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address
