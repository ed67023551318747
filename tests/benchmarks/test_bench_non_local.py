"""The non-local block beside its form with the matrix of all pairs of places."""

import time

import pytest
import torch

from fastreid.layers.attention import linear_attention


def quadratic(theta, phi, g):
    likeness = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / theta[0, 0].numel()
    return (likeness @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(theta.shape)


def seconds(function, maps, repeats=5):
    """The best of a few forward and backward passes."""
    best = float("inf")
    for _ in range(repeats):
        inputs = [part.clone().requires_grad_() for part in maps]
        start = time.perf_counter()
        function(*inputs).sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.benchmark
@pytest.mark.parametrize("width", [1, 256])
def test_linear_against_quadratic_at_384_px(width, capsys):
    maps = torch.randn(3, 8, width, 48, 48).unbind()  # stage 2 of a 384 px image
    ratio = seconds(quadratic, maps) / seconds(linear_attention, maps)
    with capsys.disabled():
        print(f"\nnon-local, 8 images of 384 px, width {width}: {ratio:.1f} times as fast as with the HW x HW matrix")
