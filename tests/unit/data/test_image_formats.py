"""Every kind of image on every way that drawings take: the decoder, the cache, the loaders, the predictor, the survey."""

import contextlib
from itertools import islice

import numpy as np
import pytest
import torch
from image_formats import BILEVEL, HELD, LOSSY, SAME, page, turned
from PIL import Image

from fastreid.data.audit.inspection import look_at_all
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_header, read_image
from fastreid.data.loading.loader import TestLoader, TrainLoader, Workers
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.engine.predictor import Predictor
from fastreid.evaluation import nearest
from fastreid.structures import Drawing

TURNED = {
    f"{suffix} held as {number}": turned(suffix, number, held)
    for suffix in ("png", "jpg", "tif")
    for number, held in HELD
}
KINDS = SAME | BILEVEL | LOSSY | TURNED
NEAR = 4  # grey levels


class Levels(torch.nn.Module):
    """A network whose features are the grey levels it is given."""

    def forward(self, images):
        return images[:, 0].flatten(1)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    found = []
    for number, (kind, write) in enumerate(KINDS.items()):
        folder = tmp_path_factory.mktemp("kind")
        found.append(Drawing(str(write(folder)), kind, str(number), source=f"list.txt:{number + 1}"))
    return tuple(found)


def near(kind, levels):
    """Whether levels, as floats or bytes of any shape, are those of the page."""
    wanted = page(bilevel=kind in BILEVEL).astype(float)
    found = np.asarray(levels, float).reshape(-1, *wanted.shape)
    exact = kind in SAME or kind in BILEVEL
    return found.shape[0] > 0 and np.abs(found - wanted).max() <= (0 if exact else NEAR)


def decoded(drawings, folder):
    return {one.name: read_image(one.path) for one in drawings}


def cached(drawings, folder):
    cache = PageCache(folder, longest_px=0)
    assert cache.fill(drawings).faults == {}
    return {one.name: cache.read(one) for one in drawings}


def as_images(drawings, batches):
    return {drawings[int(row)].name: levels.numpy() for one in batches for row, levels in zip(one.rows, one.images)}


def transform():
    return Pipeline([Resize(page().shape, max_pixels=10**6)])


def trained_on(drawings, folder):
    sampler = TrainingSampler(len(drawings), batch_size=1, seed=0)
    options = {"batch_size": 1, "seed": 0, "workers": Workers(0, timeout_s=60)}
    loader = TrainLoader(drawings, transform=transform(), sampler=sampler, **options)
    with contextlib.closing(loader):
        return as_images(drawings, islice(loader, len(drawings)))


def in_a_test(drawings, folder):
    return as_images(
        drawings, TestLoader(drawings, transform=transform(), batch_size=7, workers=Workers(0, timeout_s=60))
    )


def predicted(drawings, folder):
    predictor = Predictor(Levels(), transform(), read=read_image, device=torch.device("cpu"))
    return dict(zip(KINDS, predictor([one.path for one in drawings]).numpy()))


def surveyed(drawings, folder):
    """The page's darkness, spread over it, where all else that is told of it is right as well."""
    found = look_at_all([one.path for one in drawings], decode=True, max_pixels=10**6)
    bilevel, plain = page(bilevel=True), page()
    told = {}
    for one in drawings:
        facts, wanted = found[one.path], bilevel if one.name in BILEVEL else plain
        assert facts.fault == ""
        header = read_header(one.path)
        size = (header.width, header.height)
        assert facts.header == header
        assert sorted(size) == sorted(wanted.shape)
        assert abs(facts.ink - (1 - wanted.mean() / 255)) < 0.01
        told[one.name] = wanted if facts.fingerprint is not None else np.zeros_like(wanted)
    return told


WAYS = (decoded, cached, trained_on, in_a_test, predicted, surveyed)


def test_every_kind_of_image_is_right_on_every_way(drawings, tmp_path):
    found = [way(drawings, tmp_path) for way in WAYS]
    wrong = [(kind, way.__name__) for way, levels in zip(WAYS, found) for kind in KINDS if not near(kind, levels[kind])]
    right = len(KINDS) - len({kind for kind, _ in wrong})
    print(f"\nR7 {right}/{len(KINDS)}, on {len(WAYS)} ways")
    assert wrong == []
    assert len(KINDS) >= 24


def test_a_search_finds_the_page_whatever_its_kind(drawings, tmp_path):
    others = np.random.default_rng(0).integers(0, 256, (5, *page().shape), dtype=np.uint8)
    for number, levels in enumerate((page(), page(bilevel=True), *others)):
        Image.fromarray(levels).save(tmp_path / f"{number}.png")
    predictor = Predictor(Levels(), transform(), read=read_image, device=torch.device("cpu"))
    gallery = predictor(sorted(tmp_path.glob("*.png")))
    ranking = nearest(predictor([one.path for one in drawings]), gallery, 1)
    assert ranking.indices[:, 0].tolist() == [int(kind in BILEVEL) for kind in KINDS]
