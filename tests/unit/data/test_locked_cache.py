"""A cache file that another program has locked, or whose schema is damaged."""

import sqlite3
import time

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.build import fill_cache_if_enabled
from fastreid.data.io.cache import connections, tables
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_drawing
from fastreid.data.io.reader import DrawingReader
from fastreid.data.loading.loader import TestLoader
from fastreid.data.loading.workers import Workers
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.structures import Drawing
from fastreid.utils.errors import StorageError

LONGEST_PX = 40


@pytest.fixture
def drawings(tmp_path):
    drawings = []
    for seed in range(40):
        path = tmp_path / f"{seed}.png"
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70), dtype=np.uint8)).save(path)
        drawings.append(Drawing(str(path), path.name, "1"))
    return drawings


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_locked_cache_costs_one_wait_and_one_line(num_workers, tmp_path, drawings, monkeypatch, logged_warnings):
    PageCache(tmp_path / "cache", longest_px=LONGEST_PX).fill(drawings)
    cache = PageCache(tmp_path / "cache", longest_px=LONGEST_PX)
    monkeypatch.setattr(tables, "LOCK_WAIT_S", 1.0)
    other = sqlite3.connect(cache.path)
    other.execute("BEGIN EXCLUSIVE")
    reader = DrawingReader(cache.read, render=None, on_close=cache.connections.log_pages_from_files)
    transform = Pipeline([Resize([16, 16], max_pixels=10**6)])
    loader = TestLoader(drawings, transform=transform, batch_size=4, workers=Workers(num_workers), read=reader)
    start = time.monotonic()
    batches = list(loader)
    assert 1 <= time.monotonic() - start < 4  # not 1 s for each of 40 pages
    assert sum(len(batch.rows) for batch in batches) == len(drawings)
    assert logged_warnings[-1] == f"{cache.path}: {len(drawings)} pages were read from their files while it was locked"
    assert len(logged_warnings) == (2 if num_workers == 0 else 1)  # a worker logs the first line, on the same console
    other.close()
    unlocked = list(loader)
    assert len(logged_warnings) == (2 if num_workers == 0 else 1)
    assert all(torch.equal(one.images, two.images) for one, two in zip(batches, unlocked))


def test_further_loaders_of_a_run_neither_wait_nor_warn(tmp_path, drawings, monkeypatch, logged_warnings):
    PageCache(tmp_path / "cache", longest_px=LONGEST_PX).fill(drawings)
    monkeypatch.setattr(tables, "LOCK_WAIT_S", 0.5)
    waits, connect = [], sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: waits.append(options) or connect(*args, **options))
    path = PageCache(tmp_path / "cache", longest_px=LONGEST_PX).path
    other = connect(path)
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(3):  # such as queries and gallery of each evaluation
        cache = PageCache(tmp_path / "cache", longest_px=LONGEST_PX)
        for drawing in drawings[:3]:
            assert np.array_equal(cache.read(drawing), read_drawing(drawing, longest_px=LONGEST_PX))
        cache.close()
    assert [options["timeout"] for options in waits] == [0.5, 0, 0]
    assert len(logged_warnings) == 1
    monkeypatch.setattr(connections, "_LOCK_MEMORY_S", 0)
    PageCache(tmp_path / "cache", longest_px=LONGEST_PX).read(drawings[0])
    assert waits[-1]["timeout"] == 0.5
    other.close()


def test_run_reads_files_if_the_cache_is_locked_at_its_start(tmp_path, drawings, monkeypatch, logged_warnings):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.CACHE.ENABLED", True, "DATASETS.CACHE.FOLDER", str(tmp_path / "cache")])
    fill_cache_if_enabled(cfg, drawings)
    monkeypatch.setattr(tables, "LOCK_WAIT_S", 0.1)
    [path] = (tmp_path / "cache").glob("*.sqlite")
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    fill_cache_if_enabled(cfg, drawings)
    other.close()
    [line] = logged_warnings
    assert "another program has locked it" in line
    assert line.endswith("This run reads the files of the drawings until it is unlocked")


def test_flipped_bytes_of_the_schema_are_damage(tmp_path, drawings):
    path = PageCache(tmp_path / "cache", longest_px=LONGEST_PX).path
    PageCache(tmp_path / "cache", longest_px=LONGEST_PX).fill(drawings)
    content, pages = path.read_bytes(), [read_drawing(drawing, longest_px=LONGEST_PX) for drawing in drawings[:2]]
    num_damaged = 0
    for offset in range(content.index(b"CREATE TABLE"), 8192, 7):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 2]) + content[offset + 1 :])
        cache = PageCache(tmp_path / "cache", longest_px=LONGEST_PX)
        try:
            assert np.array_equal([cache.read(drawing) for drawing in drawings[:2]], pages)
            cache.fill(drawings)
        except StorageError as error:
            num_damaged += "delete the file, and the next run decodes it again" in str(error)
        finally:
            cache.close()
    assert num_damaged > 20
