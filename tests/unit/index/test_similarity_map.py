"""The map of two drawings: laws for equal, partly equal and swapped drawings."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from index_pages import draw_page
from PIL import Image
from torch import nn

from fastreid.engine.features.local_features import LocalFeatureExtractor
from fastreid.index import compare_drawings
from fastreid.index.crop import parse_crop
from fastreid.index.similarity_map import COLORS


@pytest.fixture(scope="module")
def embedder():
    """Return a model with random weights, whose map has 16 x 16 positions."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 24, 6, 4, 1), nn.ReLU(), nn.Conv2d(24, 32, 6, 4, 1), nn.ReLU())
    extractor = LocalFeatureExtractor(network, (256, 256), device=torch.device("cpu"))
    return SimpleNamespace(
        local_features=extractor,
        has_color=False,
        load_page=lambda page: page,
        read_part=lambda page, crop: page[:, : round(crop.box[2] * page.shape[1] / 100)],
        compute_local=extractor.compute,
    )


def frame(page):
    """Add corners, so that drawings have the same place on their pages."""
    framed = page.copy()
    framed[:3, :3] = framed[-3:, -3:] = 0
    return framed


def test_equal_drawings_match_completely(embedder):
    page = draw_page(0, 200)
    on_other_sheet = np.pad(page, ((90, 10), (5, 200)), constant_values=255)
    for other in (page, on_other_sheet):
        for drawing in compare_drawings(embedder, page, other):
            np.testing.assert_allclose(drawing.values[~np.isnan(drawing.values)], 1, atol=1e-5)
            assert drawing.matched == pytest.approx(1)
    np.testing.assert_array_equal(np.isnan(drawing.values), on_other_sheet >= 192)


def test_lines_that_become_pale_when_a_large_page_is_reduced(embedder):
    page = np.full((1400, 7000), 255, np.uint8)
    page[200::300] = page[:, 500::900] = 0  # lines of 1 px, which become lighter than INK_LEVEL
    first, second = compare_drawings(embedder, page, page)
    assert first.matched == second.matched == pytest.approx(1)


def test_equal_half_matches_and_the_other_half_does_not(embedder):
    first, second = frame(draw_page(1, 200)), frame(draw_page(2, 200))
    second[:, :100] = first[:, :100]
    first[:, 95:105] = second[:, 95:105] = 255
    for drawing in compare_drawings(embedder, first, second):
        left, right = np.nanmean(drawing.values[:, :95]), np.nanmean(drawing.values[:, 105:])
        assert left > 0.95
        assert right < 0.6
        grid = np.array(drawing.summarize_regions())
        assert grid[..., 0].sum() == pytest.approx(1)
        has_ink = grid[:, 0, 0] > 0
        assert grid[has_ink, 0, 1].min() > 0.9
        pixels = np.asarray(Image.open(io.BytesIO(drawing.render())).convert("RGB")).astype(int)
        ink = drawing.page < 192
        blueness = np.where(ink, pixels[..., 2] - pixels[..., 0], 0)
        assert blueness[:, :95][ink[:, :95]].mean() > 150
        assert blueness[:, 105:].min() == COLORS[0][2] - COLORS[0][0]  # some strokes match nothing
        np.testing.assert_array_equal(pixels[drawing.page == 255], 255)


def test_order_of_the_drawings_has_no_effect(embedder):
    first, second = draw_page(3, 200), draw_page(4, 150)
    maps = compare_drawings(embedder, first, second)
    swapped = compare_drawings(embedder, second, first)
    for drawing, other in zip(maps, swapped[::-1], strict=True):
        np.testing.assert_allclose(drawing.values, other.values, atol=1e-5)
    assert 0 < maps[0].matched < 0.7


def test_each_stroke_has_one_value_within_a_cell(embedder):
    page = np.full((256, 256), 255, np.uint8)
    page[20:240, 20:24] = 0  # a long line of several cells
    page[100:104, 200:204] = 0  # a short one
    drawing, _ = compare_drawings(embedder, page, draw_page(5, 200))
    assert len(np.unique(drawing.values[100:104, 200:204])) == 1
    assert 1 < len(np.unique(drawing.values[20:240, 20:24])) <= 9


def test_crops_blank_and_large_drawings(embedder):
    page = draw_page(6, 200)
    whole, part = compare_drawings(embedder, page[:, :100], page, crops=(None, parse_crop("0%,0%,50%,100%")))
    assert whole.matched == pytest.approx(1)
    assert part.values.shape == (200, 100)
    blank, other = compare_drawings(embedder, np.full((50, 50), 255, np.uint8), page)
    assert (blank.matched, other.matched) == (0, 0)
    assert blank.summarize_regions() == [[(0.0, 0.0)] * 3] * 3
    assert Image.open(io.BytesIO(blank.render())).size == (50, 50)
    large, _ = compare_drawings(embedder, np.full((100, 2560), 0, np.uint8), page)
    assert large.values.shape == (50, 1280)


def test_pages_in_color(embedder):
    color = SimpleNamespace(**{**vars(embedder), "has_color": True})
    page = np.repeat(draw_page(7, 200)[..., None], 3, axis=2)
    for drawing in compare_drawings(color, page, page):
        assert drawing.matched == pytest.approx(1)
