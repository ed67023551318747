"""Speed of the non-local block relative to its form with the matrix of all pairs of positions."""

import time

import pytest
import torch
from reference_network import quadratic_attention

from fastreid.layers.attention import linear_attention


def best_seconds(function, maps, repeats=5):
    """Return the shortest time of a forward and backward pass."""
    best = float("inf")
    for _ in range(repeats):
        inputs = [part.clone().requires_grad_() for part in maps]
        start = time.perf_counter()
        function(*inputs).sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.benchmark
@pytest.mark.parametrize("width", [1, 256])
def test_non_local_block_at_384_px(width, capsys):
    maps = torch.randn(3, 8, width, 48, 48).unbind()  # stage 2 of a 384 px image
    torch.testing.assert_close(linear_attention(*maps), quadratic_attention(*maps), rtol=1e-3, atol=1e-3)
    ratio = best_seconds(quadratic_attention, maps) / best_seconds(linear_attention, maps)
    with capsys.disabled():
        print(f"\nnon-local, 8 images of 384 px, width {width}: {ratio:.1f} times as fast as with the HW x HW matrix")
