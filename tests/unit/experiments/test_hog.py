"""Directions and distances of HOG features."""

import numpy as np

from fastreid.experiments.drawing_measures.hog import hog_features


def stripes(*, vertical, shift=0):
    page = np.full((96, 96), 255, dtype=np.uint8)
    page[:, shift::12] = 0
    return page if vertical else page.T


def test_vertical_and_horizontal_stripes_are_orthogonal():
    vertical, horizontal = hog_features([stripes(vertical=True), stripes(vertical=False)])
    assert float(vertical @ horizontal) < 0.01 * float(vertical @ vertical)


def test_shifted_page_is_nearer_than_another_page():
    page, shifted, other = hog_features(
        [stripes(vertical=True), stripes(vertical=True, shift=1), stripes(vertical=False)]
    )
    assert float(page @ shifted) > 2 * float(page @ other)


def test_blank_pages_of_any_size_have_zero_features():
    features = hog_features([np.full((30, 200), 255, dtype=np.uint8), np.full((96, 96), 255, dtype=np.uint8)])
    assert features.shape == (2, 11 * 11 * 36)
    assert not features.any()
