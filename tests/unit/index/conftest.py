"""A tiny model for the tests of collections, and two of its pages."""

import pytest
from index_pages import write_model, write_pages


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    pytest.importorskip("lancedb", reason="the extra `search` is not installed")
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def drawings(tmp_path):
    """Return a folder with three drawings of two patents."""
    folder = tmp_path / "drawings"
    write_pages(folder, ["D1/a.png", "D1/b.png", "week/D2/c.png"])
    return folder
