"""Scores beside those of scikit-learn, which knows nothing of patents."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_curve

from fastreid.evaluation import score

GENERATOR = np.random.default_rng(3)
DISTANCES = GENERATOR.random((30, 200)).astype(np.float32)
QUERY_IDS, GALLERY_IDS = np.arange(30) % 10, GENERATOR.integers(0, 10, 200)
RELEVANT = QUERY_IDS[:, None] == GALLERY_IDS


def test_mean_average_precision_is_scikit_learn_s():
    expected = np.mean([average_precision_score(right, -row) for right, row in zip(RELEVANT, DISTANCES)])
    given = score(torch.from_numpy(DISTANCES), torch.from_numpy(QUERY_IDS), torch.from_numpy(GALLERY_IDS))
    assert given["mAP"] == pytest.approx(100 * expected, rel=1e-9)


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 1e-2])
def test_the_true_accept_rate_is_the_highest_point_of_scikit_learn_s_curve_up_to_the_rate(rate):
    false_rates, true_rates, _ = roc_curve(RELEVANT.ravel(), -DISTANCES.ravel(), drop_intermediate=False)
    given = score(torch.from_numpy(DISTANCES), torch.from_numpy(QUERY_IDS), torch.from_numpy(GALLERY_IDS), roc=True)
    assert given[f"TPR@FPR={rate:.0e}"] == pytest.approx(100 * true_rates[false_rates <= rate].max(), abs=1e-9)
