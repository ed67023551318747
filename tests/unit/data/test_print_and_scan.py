"""Augmentations of shading and of scan quality, compared with plain loops and with Pillow's JPEG files."""

import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.data.transforms.scan_quality import LUMINANCE, Bilevel, JpegCompression, LowResolution
from fastreid.data.transforms.shading import Descreen, Screen, make_bayer_matrix
from fastreid.synthetic import render_patent


@pytest.fixture(scope="module")
def page():
    """A drawing with gray edges, a gray area and a hatched area, float32 (1, 1, 72, 56)."""
    levels = np.array(render_patent(0, 3, size_px=128)[0].convert("L").resize((56, 72)), dtype=np.float32)
    levels[50:, :20] = 140
    levels[50:, 30:] = 255
    levels[50::3, 30:] = 0
    return torch.from_numpy(levels)[None, None]


def test_coarse_pixels_are_means_of_what_they_cover(page):
    factor = 2.5
    result = LowResolution(1.0, max_factor=3).apply(page, torch.tensor([[factor]]))[0, 0].numpy()
    levels = page[0, 0].numpy().astype(np.float64)

    def cell_weights(size, position):
        start = math.floor((position + 0.5) / factor) * factor
        end = min(start + factor, size)
        overlap = [max(min(pixel + 1, end) - max(pixel, start), 0) for pixel in range(size)]
        return np.array(overlap) / (end - start)

    rows, columns = ([cell_weights(size, position) for position in range(size)] for size in levels.shape)
    for row in range(0, levels.shape[0], 5):
        for column in range(levels.shape[1]):
            assert result[row, column] == pytest.approx(rows[row] @ levels @ columns[column], abs=1e-3)


def window(values, row, column):
    """Return the neighborhood of 5 x 5 px."""
    return values[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]


def filter_window(values, function):
    """Return the result of a function of each neighborhood of 5 x 5 px."""
    return np.array(
        [[function(window(values, row, column)) for column in range(values.shape[1])] for row in range(len(values))]
    )


def test_local_threshold_equals_plain_loops(page):
    ratio = 0.375
    result = Bilevel(1.0, weight=1.0, spread=0).apply(page, torch.tensor([[ratio]]))[0, 0].numpy()
    levels = page[0, 0].numpy()
    for row, column in itertools.product(range(levels.shape[0]), range(levels.shape[1])):
        part = window(levels, row, column)
        value_range = part.max() - part.min()
        threshold = 255 * (1 - ratio) if value_range < 32 else part.max() - ratio * value_range
        assert result[row, column] == (255 if levels[row, column] > threshold else 0)


def test_thin_gray_lines_survive_a_bilevel_scan():
    lines = torch.full((1, 1, 21, 21), 255.0)
    lines[..., 10] = 180
    result = Bilevel(1.0, weight=1.0, spread=0).apply(lines, torch.tensor([[0.6]]))
    assert torch.equal(result, torch.where(lines < 255, 0.0, 255.0))


def random_levels(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def compress(levels, quality):
    images = torch.from_numpy(levels.astype(np.float32))[None, None]
    return JpegCompression(1.0, min_quality=10).apply(images, torch.tensor([[float(quality)]]))[0, 0].numpy()


def test_compression_of_a_block_equals_the_formulas_of_the_standard():
    levels, quality = random_levels(8, 8), 30
    index = range(8)

    def basis(u, v, row, column):
        scale = 0.25 * (math.sqrt(0.5) if u == 0 else 1) * (math.sqrt(0.5) if v == 0 else 1)
        return scale * math.cos((2 * row + 1) * u * math.pi / 16) * math.cos((2 * column + 1) * v * math.pi / 16)

    decoded = np.full((8, 8), 128.0)
    for u, v in itertools.product(index, index):
        step = (LUMINANCE[u][v] * (5000 // quality) + 50) // 100
        waves = np.array([[basis(u, v, row, column) for column in index] for row in index])
        decoded += round(float((waves * (levels.astype(float) - 128)).sum()) / step) * step * waves
    assert np.array_equal(compress(levels, quality), np.clip(np.round(decoded), 0, 255))


@pytest.mark.parametrize("quality", [20, 50, 75])
def test_compression_is_close_to_a_jpeg_file(quality):
    levels = random_levels(35, 50)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="JPEG", quality=quality)
    expected = np.asarray(Image.open(file), dtype=np.float32)
    # libjpeg-turbo computes in integers: coefficients between two steps may be rounded to the other one.
    assert np.abs(compress(levels, quality) - expected).mean() < 0.15 * np.abs(levels - expected).mean()


def test_patterns_of_gray_equal_plain_loops(page):
    step = Screen(1.0, weight=1.0)
    angle, period, shift_x, shift_y = 0.7, 4.3, 3, 5
    bayer = make_bayer_matrix().tolist()
    is_area = filter_window(filter_window(page[0, 0].numpy(), np.max), np.min) < 240
    assert 0.05 < is_area.mean() < 0.9

    def wave(position):
        phase = position / period % 1
        return min(2 * phase, 2 - 2 * phase)

    for kind in (Screen.LINES, Screen.DOTS, Screen.BAYER):
        params = torch.tensor([[kind, angle, period, shift_x, shift_y]], dtype=torch.float64)
        result = step.apply(page, params)
        for row in range(0, page.shape[2], 7):
            for column in range(page.shape[3]):
                y, x = row + shift_y, column + shift_x
                across = wave(x * math.cos(angle) + y * math.sin(angle))
                along = wave(y * math.cos(angle) - x * math.sin(angle))
                threshold = {
                    Screen.LINES: 0.1 + 0.8 * across,
                    Screen.DOTS: 0.1 + 0.4 * (across + along),
                    Screen.BAYER: bayer[y % 8][x % 8],
                }[kind]
                level = float(page[0, 0, row, column])
                screened = 255 if level > 255 * threshold else 0
                assert float(result[0, 0, row, column]) == (screened if is_area[row, column] else level)


def test_bayer_matrix_has_all_thresholds_and_its_published_corner():
    ranks = (make_bayer_matrix() * 64 - 0.5).round().long()
    assert sorted(ranks.flatten().tolist()) == list(range(64))
    assert ranks[:2, :2].tolist() == [[0, 32], [48, 16]]
    assert ranks[4:6, 4:6].tolist() == [[1, 33], [49, 17]]


@pytest.mark.parametrize("kind", [Screen.LINES, Screen.DOTS, Screen.BAYER])
def test_patterns_keep_the_order_of_gray_and_leave_black_and_white(kind):
    levels = torch.tensor([0.0, 60, 120, 180, 255])
    images = levels[:, None, None, None].expand(-1, 1, 40, 40)
    params = torch.tensor([[kind, 0.4, 4.0, 0, 0]]).expand(5, -1)
    means = Screen(1.0, weight=1.0).apply(images, params).mean(dim=(1, 2, 3))
    assert (means.diff() > 10).all()
    assert (means[0], means[-1]) == (0, 255)


def test_hatching_becomes_gray_and_single_lines_stay(page):
    result = Descreen(1.0, weight=1.0).apply(page, torch.ones(1, 1))
    hatched, before = result[0, 0, 57:69, 38:50], page[0, 0, 57:69, 38:50]
    assert hatched.std() < 0.3 * before.std()
    assert hatched.mean() == pytest.approx(before.mean(), abs=8)
    lines = torch.full((1, 1, 41, 41), 255.0)
    lines[..., 20] = 0
    lines[..., 12, :] = 0
    changed = (Descreen(1.0, weight=1.0).apply(lines, torch.ones(1, 1)) - lines).abs()
    assert changed.max() == 0


def test_smoothing_of_hatching_equals_plain_loops(page):
    levels = page[0, 0].numpy().astype(np.float64)
    closed = filter_window(filter_window(levels, np.min), np.max)
    gaps = filter_window(filter_window((levels - closed) / 255, np.mean), np.mean)
    area = np.clip((gaps - 0.25) / 0.25, 0, 1)
    gray = filter_window(filter_window(levels, np.mean), np.mean)
    expected = levels + 0.8 * area * (gray - levels)
    result = Descreen(1.0, weight=1.0).apply(page, torch.full((1, 1), 0.8))[0, 0].numpy()
    np.testing.assert_allclose(result, expected, atol=1e-3)
