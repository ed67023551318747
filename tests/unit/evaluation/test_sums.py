import math
from itertools import zip_longest

import pytest
import torch

from fastreid.evaluation.features import row_norms, sum_by_halves


@pytest.mark.parametrize("width", [1, 2, 3, 7, 64, 513])
def test_halves_add_up_to_the_sum_and_the_order_is_fixed(width):
    rows = torch.randn(20, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = sum_by_halves(rows.clone())
    assert found.tolist() == pytest.approx([math.fsum(row) for row in rows.tolist()], abs=1e-13)

    def by_hand(values):
        half = (len(values) + 1) // 2
        pairs = zip_longest(values[:half], values[half:], fillvalue=0.0)
        return values[0] if len(values) == 1 else by_hand([head + tail for head, tail in pairs])

    assert found.tolist() == [by_hand(row) for row in rows.tolist()]


def test_lengths_leave_the_features_as_they_were():
    rows = torch.randn(5, 8, dtype=torch.float64)
    before = rows.clone()
    assert row_norms(rows, "queries").tolist() == pytest.approx(before.norm(dim=1).tolist())
    assert torch.equal(rows, before)
