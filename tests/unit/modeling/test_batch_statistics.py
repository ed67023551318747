import itertools

import pytest
import torch
import torch.nn.functional as F

from fastreid.modeling.batch_statistics import compute_spread

TARGETS = torch.tensor([0, 0, 0, 1, 1, 2])


def drawn(num=6, width=5):
    return torch.randn(num, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_mean_distances_are_those_that_plain_loops_find():
    x, pairs = drawn(), {True: [], False: []}
    for one, other in itertools.permutations(range(6), 2):
        cosine = F.cosine_similarity(x[one], x[other], dim=0)
        pairs[bool(TARGETS[one] == TARGETS[other])].append(1 - cosine.item())
    told = compute_spread(x, TARGETS)
    assert told["positive_distance"].item() == pytest.approx(sum(pairs[True]) / 8)
    assert told["negative_distance"].item() == pytest.approx(sum(pairs[False]) / 22)


def test_rank_is_by_the_variances_of_the_principal_directions():
    x = drawn(40)
    directions = F.normalize(x)
    variances = torch.linalg.eigvalsh(torch.cov(directions.T, correction=0))
    told = compute_spread(x, torch.arange(40))
    assert told["feature_rank"].item() == pytest.approx((variances.sum() ** 2 / variances.square().sum()).item())
    assert told["feature_spread"].item() == pytest.approx(variances.sum().sqrt().item())


def test_one_point_has_no_spread_and_opposite_ones_have_all():
    one, opposite = torch.ones(4, 3), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [-2.0, 0.0]])
    assert compute_spread(one, torch.arange(4))["feature_spread"].item() == pytest.approx(0, abs=1e-3)
    told = compute_spread(opposite, torch.arange(4))
    assert (told["feature_spread"].item(), told["feature_rank"].item()) == (1, 1)


def test_a_batch_without_a_pair_has_no_distance_for_it():
    told = compute_spread(drawn(), torch.arange(6))
    assert torch.isnan(told["positive_distance"])
    assert torch.isfinite(told["negative_distance"])


def test_the_spread_is_the_same_under_autocast():
    x = drawn().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = compute_spread(x, TARGETS)
    assert narrow == compute_spread(x, TARGETS)
