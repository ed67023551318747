"""Drawings that are drawn when they are read."""

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.build import build_datasets, build_train_loader
from fastreid.data.datasets.generated_stream import DrawingReader, GeneratedStream
from fastreid.data.io.build import build_reader, fill_if_cached
from fastreid.structures import Drawing
from fastreid.synthetic import Collection, make_patent
from fastreid.utils.errors import InputError

STREAM = GeneratedStream(Collection(3, 4, 1, size_px=64))


def refuse(drawing):
    raise AssertionError(f"{drawing.path} was read")


def test_the_list_has_each_patents_drawings_and_no_file():
    drawings = STREAM.train()
    assert len({drawing.patent for drawing in drawings}) == 4
    assert len({drawing.path for drawing in drawings}) == len(drawings)
    assert all(drawing.is_synthetic for drawing in drawings)


def test_a_page_is_what_the_patent_draws_whatever_was_read_before():
    drawings = STREAM.train()
    read = DrawingReader(refuse)
    pages = [read(drawing) for drawing in drawings]
    assert np.array_equal(DrawingReader(refuse)(drawings[-1]), pages[-1])
    assert np.array_equal(pages[1], np.asarray(make_patent(3, 0).draw(1, size_px=64, grey=True)))
    assert all(max(page.shape) == 64 and page.dtype == np.uint8 for page in pages)


def test_a_page_is_drawn_no_larger_than_pages_are_read():
    large = GeneratedStream(Collection(3, 1, 1, size_px=640)).train()[0]
    assert max(DrawingReader(refuse, longest_px=96)(large).shape) == 96


def test_other_drawings_are_read():
    assert DrawingReader(lambda drawing: drawing.name)(Drawing("a.png", "a", "1")) == "a"


def test_it_has_no_test():
    with pytest.raises(InputError, match="has no test; set DATASETS"):
        STREAM.test()


def test_batches_are_drawn_without_touching_the_disk_with_the_cache_on_or_off(tmp_path):
    cfg = get_cfg()
    settings = ["DATASETS.NAMES", "GeneratedStream", "DATASETS.TESTS", "Generated", "DATASETS.ROOT", str(tmp_path),
                "DATASETS.GENERATED.NUM_TRAIN_PATENTS", 4, "DATASETS.GENERATED.NUM_TEST_PATENTS", 1,
                "DATASETS.GENERATED.SIZE_PX", 64, "SOLVER.IMS_PER_BATCH", 4, "INPUT.SIZE_TRAIN", [32, 32],
                "DATALOADER.NUM_WORKERS", 0]  # fmt: skip
    cfg.merge_from_list(settings)
    train, _ = build_datasets(cfg)
    (made,) = tmp_path.glob("generated-*")
    plain = next(build_train_loader(cfg, train))
    cfg.merge_from_list(["DATASETS.CACHE.ENABLED", True])
    fill_if_cached(cfg, training=train)
    cached = next(build_train_loader(cfg, train))
    assert np.array_equal(plain.images, cached.images)
    assert not any(path.name == "train_patent" for path in tmp_path.iterdir())
    assert build_reader(cfg)(train[0]).ndim == 2
    assert made.is_dir()
