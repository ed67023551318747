"""How far features are from each other; the losses and the search use the same three measures."""

import torch.nn.functional as F
from torch import Tensor

from fastreid.layers.precision import in_full_precision
from fastreid.utils.errors import InputError

SMALLEST_SQUARE = 1e-12  # below it the root's slope grows without bound


@in_full_precision
def squared_euclidean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distance of every row of `a` to every row of `b`, never below 0.

    Worked out as |a|^2 + |b|^2 - 2ab, so it holds no array larger than the answer.

    Args:
        a: (N, D).
        b: (M, D).

    Returns:
        (N, M), float32 or float64.

    Raises:
        InputError: the arguments are not two tables of the same width.
    """
    _check(a, b)
    squares = a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1)
    return (squares - 2 * (a @ b.T)).clamp(min=0)


@in_full_precision
def euclidean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance of every row of `a` to every row of `b`: (N, D), (M, D) -> (N, M).

    Equal rows are 1e-6 apart rather than 0, and their gradient is 0 rather than infinite.

    Raises:
        InputError: the arguments are not two tables of the same width.
    """
    return squared_euclidean_distance(a, b).clamp(min=SMALLEST_SQUARE).sqrt()


@in_full_precision
def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """One minus the cosine: 0 same direction, 1 at right angles, 2 opposite: (N, D), (M, D) -> (N, M).

    A row of zeros has no direction; it is 1 from everything.

    Raises:
        InputError: the arguments are not two tables of the same width.
    """
    _check(a, b)
    return 1 - F.normalize(a) @ F.normalize(b).T


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"distances need features (N, D) and (M, D), not {tuple(a.shape)} and {tuple(b.shape)}")
