"""Histograms of oriented gradients: directions where they belong, and near for what looks alike."""

import numpy as np

from fastreid.experiments.hog import hog_features


def stripes(*, upright, shift=0):
    page = np.full((96, 96), 255, dtype=np.uint8)
    page[:, shift::12] = 0
    return page if upright else page.T


def test_upright_and_level_stripes_share_no_direction():
    upright, level = hog_features([stripes(upright=True), stripes(upright=False)])
    assert float(upright @ level) < 0.01 * float(upright @ upright)


def test_a_page_is_nearer_to_its_shifted_self_than_to_another():
    page, moved, other = hog_features([stripes(upright=True), stripes(upright=True, shift=1), stripes(upright=False)])
    assert float(page @ moved) > 2 * float(page @ other)


def test_the_size_of_a_page_does_not_matter_and_a_blank_one_is_all_zero():
    features = hog_features([np.full((30, 200), 255, dtype=np.uint8), np.full((96, 96), 255, dtype=np.uint8)])
    assert features.shape == (2, 11 * 11 * 36)
    assert not features.any()
