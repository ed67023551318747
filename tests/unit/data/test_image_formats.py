"""Every image format in every consumer: decoder, cache, loaders, predictor, audit."""

import contextlib
from itertools import islice

import numpy as np
import pytest
import torch
from image_formats import BILEVEL, LOSSY, ORIENTATIONS, SAME, page, save_rotated
from PIL import Image

from fastreid.data.audit.inspection import inspect_files
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_header, read_image
from fastreid.data.loading.loader import TestLoader, TrainLoader, Workers
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.engine.predictor import Predictor
from fastreid.evaluation import nearest
from fastreid.structures import Drawing

ROTATED = {
    f"{suffix} with orientation {number}": save_rotated(suffix, number, rotate)
    for suffix in ("png", "jpg", "tif")
    for number, rotate in ORIENTATIONS
}
FORMATS = SAME | BILEVEL | LOSSY | ROTATED
TOLERANCE = 4  # gray levels


class PixelNetwork(torch.nn.Module):
    """A network whose features are its input pixels."""

    def forward(self, images):
        return images[:, 0].flatten(1)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    drawings = []
    for number, (name, write) in enumerate(FORMATS.items()):
        folder = tmp_path_factory.mktemp("format")
        drawings.append(Drawing(str(write(folder)), name, str(number), source=f"list.txt:{number + 1}"))
    return tuple(drawings)


def is_correct(name, levels):
    """Return whether levels, floats or bytes of any shape, equal the page in that format."""
    expected = page(bilevel=name in BILEVEL).astype(float)
    pages = np.asarray(levels, float).reshape(-1, *expected.shape)
    is_lossless = name in SAME or name in BILEVEL
    return pages.shape[0] > 0 and np.abs(pages - expected).max() <= (0 if is_lossless else TOLERANCE)


def read_files(drawings, folder):
    return {one.name: read_image(one.path) for one in drawings}


def read_cache(drawings, folder):
    cache = PageCache(folder, longest_px=0)
    assert cache.fill(drawings).faults == {}
    return {one.name: cache.read(one) for one in drawings}


def collect_images(drawings, batches):
    return {drawings[int(row)].name: levels.numpy() for one in batches for row, levels in zip(one.rows, one.images)}


def transform():
    return Pipeline([Resize(page().shape, max_pixels=10**6)])


def load_for_training(drawings, folder):
    sampler = TrainingSampler(len(drawings), batch_size=1, seed=0)
    options = {"batch_size": 1, "seed": 0, "workers": Workers(0, timeout_s=60)}
    loader = TrainLoader(drawings, transform=transform(), sampler=sampler, **options)
    with contextlib.closing(loader):
        return collect_images(drawings, islice(loader, len(drawings)))


def load_for_test(drawings, folder):
    return collect_images(
        drawings, TestLoader(drawings, transform=transform(), batch_size=7, workers=Workers(0, timeout_s=60))
    )


def load_for_prediction(drawings, folder):
    predictor = Predictor(PixelNetwork(), transform(), read=read_image, device=torch.device("cpu"))
    return dict(zip(FORMATS, predictor([one.path for one in drawings]).numpy()))


def audit_files(drawings, folder):
    """Check what the audit reports; return the expected pages."""
    files = inspect_files([one.path for one in drawings], decode=True, max_pixels=10**6)
    bilevel, plain = page(bilevel=True), page()
    pages = {}
    for one in drawings:
        file, expected = files[one.path], bilevel if one.name in BILEVEL else plain
        assert file.fault == ""
        header = read_header(one.path)
        size = (header.width, header.height)
        assert file.header == header
        assert sorted(size) == sorted(expected.shape)
        assert abs(file.ink - (1 - expected.mean() / 255)) < 0.01
        pages[one.name] = expected if file.fingerprint is not None else np.zeros_like(expected)
    return pages


CONSUMERS = (read_files, read_cache, load_for_training, load_for_test, load_for_prediction, audit_files)


def test_every_format_is_correct_in_every_consumer(drawings, tmp_path):
    pages = [consume(drawings, tmp_path) for consume in CONSUMERS]
    wrong = [
        (name, consume.__name__)
        for consume, levels in zip(CONSUMERS, pages)
        for name in FORMATS
        if not is_correct(name, levels[name])
    ]
    num_correct = len(FORMATS) - len({name for name, _ in wrong})
    print(f"\nR7 {num_correct}/{len(FORMATS)}, in {len(CONSUMERS)} consumers")
    assert wrong == []
    assert len(FORMATS) >= 24


def test_search_finds_the_page_in_every_format(drawings, tmp_path):
    others = np.random.default_rng(0).integers(0, 256, (5, *page().shape), dtype=np.uint8)
    for number, levels in enumerate((page(), page(bilevel=True), *others)):
        Image.fromarray(levels).save(tmp_path / f"{number}.png")
    predictor = Predictor(PixelNetwork(), transform(), read=read_image, device=torch.device("cpu"))
    gallery = predictor(sorted(tmp_path.glob("*.png")))
    ranking = nearest(predictor([one.path for one in drawings]), gallery, 1)
    assert ranking.indices[:, 0].tolist() == [int(name in BILEVEL) for name in FORMATS]
