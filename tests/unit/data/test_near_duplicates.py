"""Groups of equal and nearly equal drawings."""

import numpy as np

from fastreid.data.audit.near_duplicates import MAX_BITS, group_equal, group_near_duplicates


def test_near_duplicates_are_grouped_by_small_steps():
    bits = np.zeros((5000, 256), np.uint8)
    bits[1, :MAX_BITS] = 1
    bits[2, : 2 * MAX_BITS] = 1  # near the previous row, far from row 0
    bits[3, : 3 * MAX_BITS + 1] = 1  # one bit too far from the previous row
    bits[5:] = np.random.default_rng(0).integers(0, 2, 256)
    groups = group_near_duplicates(np.packbits(bits, axis=1))
    assert groups == [[0, 1, 2, 4], list(range(5, 5000))]
    assert group_near_duplicates(np.zeros((0, 32), np.uint8)) == []


def test_equal_texts_are_grouped_and_empty_ones_are_not():
    assert group_equal(["b", "", "a", "b", "", "a", "c"]) == [[0, 3], [2, 5]]
    assert group_equal(["", ""]) == []
