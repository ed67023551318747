"""Pairwise distances between features, used by both losses and search."""

import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError

MIN_SQUARED_DISTANCE = 1e-12  # the gradient of the square root is unbounded below


@in_full_precision
def squared_euclidean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared Euclidean distance between all rows of `a` and `b`, at least 0.

    Computed as |a|^2 + |b|^2 - 2ab, so no intermediate array is larger than the result.

    Args:
        a: (N, D).
        b: (M, D).

    Returns:
        (N, M), float32 or float64.

    Raises:
        InputError: the arguments are not two matrices with the same number of columns.
    """
    _check_shapes(a, b)
    squares = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1)
    return (squares - 2 * (a @ b.T)).clamp(min=0)


@in_full_precision
def euclidean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the Euclidean distance between all rows of `a` and `b`.

    Equal rows have distance 1e-6 instead of 0, and gradient 0 instead of infinity.

    Args:
        a: (N, D).
        b: (M, D).

    Returns:
        (N, M), float32 or float64.

    Raises:
        InputError: the arguments are not two matrices with the same number of columns.
    """
    return squared_euclidean_distance(a, b).clamp(min=MIN_SQUARED_DISTANCE).sqrt()


@in_full_precision
def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return one minus the cosine similarity between all rows of `a` and `b`: 0 to 2.

    A row of zeros has distance 1 to all rows.

    Args:
        a: (N, D).
        b: (M, D).

    Returns:
        (N, M), float32 or float64.

    Raises:
        InputError: the arguments are not two matrices with the same number of columns.
    """
    _check_shapes(a, b)
    return 1 - F.normalize(a) @ F.normalize(b).T


def _check_shapes(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"features must be (N, D) and (M, D), not {tuple(a.shape)} and {tuple(b.shape)}")
