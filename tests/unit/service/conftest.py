"""A served collection of nine drawings with metadata, in this process."""

import csv
import importlib.util

import pytest
from index_pages import draw_page, write_model, write_pages
from service_requests import PictureFile

import fastreid.index

if importlib.util.find_spec("fastapi") is None:  # the extra `serve` is not installed
    collect_ignore_glob = ["test_*.py"]

NAMES = [f"D{number // 3}/{number}.png" for number in range(9)]
ROWS = [
    ("patent", "title", "locarno", "year"),
    ("D0", "<script>alert(1)</script>", "06-01", 2001),
    ("D1", "Cup \"with\" 'quotes' & more", "07-02", 2002),
    ("D2", "Sofa", "06-03", 2002),
]


@pytest.fixture(scope="session")
def collection_folder(tmp_path_factory):
    """Return the folder of a collection of nine drawings of three patents."""
    for package in ("lancedb", "fastapi", "uvicorn", "prometheus_client"):
        pytest.importorskip(package, reason="the extras `search` and `serve` are not installed")
    folder = tmp_path_factory.mktemp("served")
    write_pages(folder / "drawings", NAMES)
    with open(folder / "meta.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(ROWS)
    collection = fastreid.index.create(folder / "patents.index", model=write_model(folder / "model"))
    collection.add([folder / "drawings"], metadata=str(folder / "meta.csv"))
    return folder / "patents.index"


@pytest.fixture(scope="session")
def client(collection_folder):
    """Return a client of an application that cannot change its collection; the rate is not limited."""
    from service_requests import start_client

    with start_client(collection_folder, requests_per_minute=0) as client:
        yield client


@pytest.fixture(scope="session")
def picture():
    """Return the drawing D1/4.png as an upload."""
    return PictureFile("query.png", draw_page(4))
