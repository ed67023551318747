import math
from itertools import zip_longest

import pytest
import torch

from fastreid.evaluation.features import pairwise_sum, row_norms


@pytest.mark.parametrize("width", [1, 2, 3, 7, 64, 513])
def test_pairwise_sum_has_a_fixed_order(width):
    rows = torch.randn(20, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sums = pairwise_sum(rows.clone())
    assert sums.tolist() == pytest.approx([math.fsum(row) for row in rows.tolist()], abs=1e-13)

    def sum_by_hand(values):
        half = (len(values) + 1) // 2
        pairs = zip_longest(values[:half], values[half:], fillvalue=0.0)
        return values[0] if len(values) == 1 else sum_by_hand([head + tail for head, tail in pairs])

    assert sums.tolist() == [sum_by_hand(row) for row in rows.tolist()]


def test_row_norms_does_not_modify_its_input():
    rows = torch.randn(5, 8, dtype=torch.float64)
    before = rows.clone()
    assert row_norms(rows, "queries").tolist() == pytest.approx(before.norm(dim=1).tolist())
    assert torch.equal(rows, before)
