import sqlite3
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError, StorageError

NUM = 12


def write_image(folder, row):
    path = folder / f"data/{row}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(row).integers(0, 256, (20, 30), dtype=np.uint8)).save(path)
    return Drawing(str(path), path.name, "1", source=f"list.txt:{row + 1}")


@pytest.fixture
def drawings(tmp_path):
    return [write_image(tmp_path, row) for row in range(NUM)]


@pytest.fixture
def cache(tmp_path):
    return PageCache(tmp_path / "cache", longest_px=0)


def test_unreadable_image_is_decoded_again_only_after_a_change(tmp_path, drawings, cache, monkeypatch):
    (tmp_path / "data/4.png").write_bytes(b"no image")
    faults = cache.fill(drawings).faults
    with monkeypatch.context() as patch:
        patch.delattr("fastreid.data.io.cache.entries.decode_page")
        assert cache.fill(drawings).faults == faults
    assert cache.repair() == 1
    assert cache.fill(drawings).faults == faults
    write_image(tmp_path, 4)
    report = cache.fill(drawings)
    assert (report.num_decoded, report.faults) == (1, {})
    assert cache.fill(drawings).num_reused == NUM


def test_page_of_a_file_that_became_unreadable_is_dropped(tmp_path, drawings, cache):
    cache.fill(drawings)
    (tmp_path / "data/4.png").write_bytes(b"no image")
    cache.fill(drawings)
    with pytest.raises(InputError, match=r"4\.png: not an image"):
        cache.read(drawings[4])


def test_files_that_failed_for_system_errors_are_retried(drawings, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fastreid.data.io.cache.entries.hashlib.sha256", mock.Mock(side_effect=OSError(5, "EIO")))
        with pytest.raises(StorageError, match=r"0\.png: cannot be read: EIO"):
            cache.fill(drawings)
    with monkeypatch.context() as patch:
        patch.setattr("fastreid.data.io.image.load_frame", mock.Mock(side_effect=MemoryError()))
        assert len(cache.fill(drawings).faults) == NUM
    assert cache.fill(drawings).num_decoded == NUM


def test_old_cache_gets_the_table_of_faults(tmp_path, drawings, cache):
    cache.fill(drawings[5:])
    connection = sqlite3.connect(cache.path)
    connection.execute("DROP TABLE faults")
    connection.close()
    assert cache.fill(drawings[5:]).num_reused == NUM - 5
    (tmp_path / "data/4.png").write_bytes(b"no image")
    assert len(cache.fill(drawings).faults) == 1
    assert len(cache.fill(drawings).faults) == 1
