import itertools

import pytest
import torch
import torch.nn.functional as F

from fastreid.modeling.batch_statistics import compute_spread

TARGETS = torch.tensor([0, 0, 0, 1, 1, 2])


def sample_features(num=6, width=5):
    return torch.randn(num, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_mean_distances_match_a_loop_over_pairs():
    x, pairs = sample_features(), {True: [], False: []}
    for one, other in itertools.permutations(range(6), 2):
        cosine = F.cosine_similarity(x[one], x[other], dim=0)
        pairs[bool(TARGETS[one] == TARGETS[other])].append(1 - cosine.item())
    stats = compute_spread(x, TARGETS)
    assert stats["positive_distance"].item() == pytest.approx(sum(pairs[True]) / 8)
    assert stats["negative_distance"].item() == pytest.approx(sum(pairs[False]) / 22)


def test_rank_and_spread_match_principal_variances():
    x = sample_features(40)
    directions = F.normalize(x)
    variances = torch.linalg.eigvalsh(torch.cov(directions.T, correction=0))
    stats = compute_spread(x, torch.arange(40))
    assert stats["feature_rank"].item() == pytest.approx((variances.sum() ** 2 / variances.square().sum()).item())
    assert stats["feature_spread"].item() == pytest.approx(variances.sum().sqrt().item())


def test_spread_of_equal_and_opposite_features():
    one, opposite = torch.ones(4, 3), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    assert compute_spread(one, torch.arange(4))["feature_spread"].item() == pytest.approx(0, abs=1e-3)
    stats = compute_spread(opposite, torch.arange(4))
    assert (stats["feature_spread"].item(), stats["feature_rank"].item()) == (1, 1)


def test_distance_without_pairs_is_nan():
    stats = compute_spread(sample_features(), torch.arange(6))
    assert torch.isnan(stats["positive_distance"])
    assert torch.isfinite(stats["negative_distance"])


def test_spread_is_the_same_under_autocast():
    x = sample_features().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = compute_spread(x, TARGETS)
    assert under_autocast == compute_spread(x, TARGETS)
