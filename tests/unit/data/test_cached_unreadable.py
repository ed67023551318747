"""The cache of pages: what it keeps of images that cannot be read."""

import sqlite3
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

NUM = 12


def write(folder, row):
    path = folder / f"data/{row}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(row).integers(0, 256, (20, 30), dtype=np.uint8)).save(path)
    return Drawing(str(path), path.name, "1", source=f"list.txt:{row + 1}")


@pytest.fixture
def drawings(tmp_path):
    return [write(tmp_path, row) for row in range(NUM)]


@pytest.fixture
def cache(tmp_path):
    return PageCache(tmp_path / "cache", longest_px=0)


def test_a_bad_image_is_not_decoded_again_until_its_file_changes_or_somebody_mends(
    tmp_path, drawings, cache, monkeypatch
):
    (tmp_path / "data/4.png").write_bytes(b"no image")
    faults = cache.fill(drawings).faults
    with monkeypatch.context() as without_decoder:
        without_decoder.delattr("fastreid.data.io.cache.entries.page_of")
        assert cache.fill(drawings).faults == faults
    assert cache.mend() == 1
    assert cache.fill(drawings).faults == faults
    write(tmp_path, 4)
    filled = cache.fill(drawings)
    assert (filled.num_made, filled.faults) == (1, {})
    assert cache.fill(drawings).num_kept == NUM


def test_a_page_whose_file_went_bad_is_not_given_any_more(tmp_path, drawings, cache):
    cache.fill(drawings)
    (tmp_path / "data/4.png").write_bytes(b"no image")
    cache.fill(drawings)
    with pytest.raises(InputError, match=r"4\.png: not an image"):
        cache.read(drawings[4])


def test_what_the_system_refused_is_tried_again(drawings, cache, monkeypatch):
    for fault, place in ((OSError(5, "Input/output error"), "hashlib.sha256"), (MemoryError(), "image._page")):
        with monkeypatch.context() as ill:
            module = "fastreid.data.io.cache.entries" if place.startswith("hashlib") else "fastreid.data"
            ill.setattr(f"{module}.{place}", mock.Mock(side_effect=fault))
            assert len(cache.fill(drawings).faults) == NUM
    assert cache.fill(drawings).num_made == NUM


def test_a_cache_that_is_older_than_the_table_of_faults_gets_it(tmp_path, drawings, cache):
    cache.fill(drawings[5:])
    connection = sqlite3.connect(cache.path)
    connection.execute("DROP TABLE faults")
    connection.close()
    assert cache.fill(drawings[5:]).num_kept == NUM - 5
    (tmp_path / "data/4.png").write_bytes(b"no image")
    assert len(cache.fill(drawings).faults) == 1
    assert len(cache.fill(drawings).faults) == 1
