"""Calibration: its parameters are recovered, its probabilities hold on other data and in larger galleries."""

import json

import numpy as np
import pytest

from fastreid.evaluation.calibration import (
    Calibration,
    compute_reliability,
    fit_calibration,
    read_calibration,
    write_calibration,
)
from fastreid.utils.errors import InputError, StorageError


def draw_pairs(num_matches, num_others, seed=0):
    """Return scores and labels whose log density ratio is 12 s - 6: two normal distributions of the same variance."""
    rng = np.random.default_rng(seed)
    scores = [rng.normal(0.8, 1 / np.sqrt(20), num_matches), rng.normal(0.2, 1 / np.sqrt(20), num_others)]
    return np.concatenate(scores), np.arange(num_matches + num_others) < num_matches


def test_density_ratio_does_not_depend_on_the_ratio_of_matches():
    for num_matches, num_others in ((20_000, 20_000), (2_000, 200_000)):
        calibration = fit_calibration(*draw_pairs(num_matches, num_others))
        assert calibration.slope == pytest.approx(12, rel=0.05)
        assert calibration.intercept == pytest.approx(-6, rel=0.06)
        assert (calibration.num_matches, calibration.num_others) == (num_matches, num_others)


def test_probabilities_hold_in_a_larger_gallery():
    calibration = fit_calibration(*draw_pairs(5_000, 50_000))
    scores, labels = draw_pairs(1_000, 500_000, seed=1)
    shown = scores > 0.7  # as the first results of a search
    error, bins = compute_reliability(
        calibration.compute_probabilities(scores[shown], prior=1_000 / 501_000), labels[shown]
    )
    assert error < 0.01
    assert sum(one.num_pairs for one in bins) == shown.sum()
    wrong, _ = compute_reliability(calibration.compute_probabilities(scores[shown], prior=0.1), labels[shown])
    assert wrong > 10 * error


def test_reliability_in_plain_loops():
    rng = np.random.default_rng(2)
    probabilities, labels = rng.random(103), rng.random(103) < 0.5
    error, bins = compute_reliability(probabilities, labels, num_bins=4)
    pairs = sorted(zip(probabilities, labels))
    expected, start = 0.0, 0
    for one, size in zip(bins, (26, 26, 26, 25)):
        part = pairs[start : start + size]
        start += size
        assert one.num_pairs == size
        assert one.mean_probability == pytest.approx(sum(value for value, _ in part) / size)
        assert one.match_ratio == pytest.approx(sum(label for _, label in part) / size)
        expected += abs(one.mean_probability - one.match_ratio) * size / 103
    assert error == pytest.approx(expected)


def test_probabilities_increase_and_stay_in_range():
    calibration = Calibration(1e4, -1e4, 30, 30)
    values = calibration.compute_probabilities([[-1.0, 0.0], [0.999, 1.0]], prior=0.0)
    assert values.shape == (2, 2)
    assert (np.diff(values.ravel()) >= 0).all()
    assert values.min() >= 0
    assert Calibration(5.0, 0.0, 30, 30).compute_probabilities(0.0, prior=0.25) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.linspace(0, 1, 40), np.arange(40) < 19, "needs 20 pairs of one object and 20 of different ones, not 19"),
        (np.linspace(0, 1, 40), np.arange(40) < 20, "not more similar than others"),
    ],
)
def test_too_few_or_reversed_pairs_are_an_error(scores, labels, message):
    with pytest.raises(InputError, match=message):
        fit_calibration(scores, labels)


def test_file_returns_the_calibration(tmp_path):
    assert read_calibration(tmp_path) is None
    calibration = Calibration(12.5, -3.5, 344, 9806, "Patent", "ab" * 32)
    write_calibration(tmp_path, calibration)
    assert read_calibration(tmp_path) == calibration


@pytest.mark.parametrize(
    "change", [{"slope": -1.0}, {"slope": "a"}, {"intercept": float("nan")}, {"format": 2}, {"other": 1}]
)
def test_damaged_file_is_an_error(change, tmp_path):
    path = write_calibration(tmp_path, Calibration(12.5, -3.5, 344, 9806))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StorageError, match=r"calibration\.json: damaged"):
        read_calibration(tmp_path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StorageError, match=r"calibration\.json: damaged"):
        read_calibration(tmp_path)


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_extreme_priors_give_finite_probabilities(prior):
    low, high = Calibration(10.0, -5.0, 1, 1).compute_probabilities([0.0, 1.0], prior=prior)
    assert 0 <= low <= high <= 1
    assert abs(low - prior) < 0.01
