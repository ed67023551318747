"""Feature matrices: conversion and validation shared by search, query expansion, re-ranking and whitening."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.mapped_rows import MappedRows

Features = Tensor | MappedRows
FeatureArray = Tensor | MappedRows | NDArray[Any]

MIB = 1 << 20  # bytes
_MAX_NAMED_ROWS = 20
_BLOCK_FLOATS = 1 << 20  # floats converted to float64 at a time


def as_features(features: FeatureArray, name: str) -> Features:
    """Return features as a float32 matrix (N, D).

    Other floating-point types are rounded to float32; float32 is not copied.

    Args:
        features: (N, D) with N and D at least 1, a tensor or an array. A float32 array in a memory-mapped file is not
            read.
        name: of the features in error messages, such as "queries".

    Raises:
        InputError: the features are not a floating-point matrix, or the matrix is empty.
    """
    if isinstance(features, np.ndarray) and MappedRows.is_supported(features):
        features = MappedRows(features)
    if isinstance(features, MappedRows) and 0 not in features.shape:
        return features
    if isinstance(features, MappedRows):
        features = features[:]
    if not isinstance(features, Tensor):
        features = _array_to_tensor(np.asarray(features), name)
    if not features.is_floating_point():
        raise InputError(f"{name} must be floats (N, D), not {features.dtype} {tuple(features.shape)}; convert them")
    if features.ndim != 2 or 0 in features.shape:
        raise InputError(f"{name} must be floats (N, D) with N and D at least 1, not {tuple(features.shape)}")
    return features.detach().to(torch.float32)


def to_tensor(features: Features) -> Tensor:
    """Return the features as a tensor in memory; memory-mapped features are read completely."""
    return features[:] if isinstance(features, MappedRows) else features


def row_norms(features: Features, name: str) -> Tensor:
    """Return the Euclidean norm of each row, float64 (N,).

    Args:
        features: float32 (N, D).
        name: of the features in error messages.

    Raises:
        NumericalError: a row contains NaN or Inf, or is all zero; the message lists the first 20 rows.
    """
    norms = torch.empty(len(features), dtype=torch.float64, device=features.device)
    for part in iter_slices(len(features), max(1, _BLOCK_FLOATS // features.shape[1])):
        norms[part] = pairwise_sum(features[part].to(torch.float64, copy=True).square_()).sqrt_()
    invalid = ~torch.isfinite(norms) | (norms == 0)
    if invalid.any():
        rows = invalid.nonzero().flatten().tolist()
        named = ", ".join(map(str, rows[:_MAX_NAMED_ROWS])) + (", ..." if len(rows) > _MAX_NAMED_ROWS else "")
        raise NumericalError(
            f"{len(rows)} of {len(invalid)} rows of {name} are NaN, Inf or zero: rows {named}; check weights and images"
        )
    return norms


def pairwise_sum(values: Tensor) -> Tensor:
    """Return the sum of each row (N, D) -> (N,) in a fixed order, with the same bits on every CPU and GPU.

    The second half of each row is added to its first half until one value is left. The order of torch's own sum depends
    on the device and its vector units. `values` is overwritten.
    """
    while values.shape[1] > 1:
        half = (values.shape[1] + 1) // 2
        values[:, : values.shape[1] - half] += values[:, half:]
        values = values[:, :half]
    return values[:, 0].clone()


def iter_slices(total: int, step: int) -> Iterator[slice]:
    """Yield consecutive slices of `step` items that cover `total` items; the last one may be shorter."""
    return (slice(start, min(start + step, total)) for start in range(0, total, step))


def check_compatible(queries: Features, gallery: Features) -> None:
    """Check that queries and gallery have the same width and device.

    Raises:
        InputError: they differ.
    """
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} floats per row but the gallery has {gallery.shape[1]}; extract both with "
            "the same model"
        )
    if queries.device != gallery.device:
        raise InputError(
            f"queries are on {queries.device} but the gallery is on {gallery.device}; move both to one device"
        )


def check_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Return the value as an int.

    Raises:
        InputError: the value is not an integer of at least `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise InputError(f"{name} must be an integer of at least {minimum}, not {value!r}")
    return int(value)


def _array_to_tensor(array: NDArray[Any], name: str) -> Tensor:
    if array.dtype.kind != "f":
        raise InputError(f"{name} must be floats (N, D), not {array.dtype} {array.shape}; convert them")
    array = np.ascontiguousarray(array, dtype=np.float32)
    with warnings.catch_warnings():
        # torch warns about read-only memory such as a memory-mapped file; features are never modified here.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
