"""What search, expansion and re-ranking ask of features before they work on them."""

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.mapped_rows import MappedRows

Features = Tensor | MappedRows

MIB = 1 << 20  # bytes
_NAMED = 20


def as_features(features: Features | np.ndarray, what: str) -> Features:
    """Features as float32 (N, D); other floating types are rounded to float32, float32 is not copied.

    Args:
        features: (N, D), a tensor or an array, N and D at least 1. A float32 array in a mapped file stays there.
        what: the trade's word for them, for messages, such as "queries".

    Raises:
        InputError: not a matrix of floats, or nothing in it.
    """
    if isinstance(features, np.ndarray) and MappedRows.fits(features):
        features = MappedRows(features)
    if isinstance(features, MappedRows) and 0 not in features.shape:
        return features
    if isinstance(features, MappedRows):
        features = features[:]
    if not isinstance(features, Tensor):
        features = _tensor_of(np.asarray(features), what)
    if not features.is_floating_point():
        raise InputError(f"{what} are floats (N, D), not {features.dtype} {tuple(features.shape)}; convert them")
    if features.ndim != 2 or 0 in features.shape:
        raise InputError(f"{what} are floats (N, D) with N and D at least 1, not {tuple(features.shape)}")
    return features.detach().to(torch.float32)


def in_memory(features: Features) -> Tensor:
    """The features as a tensor; mapped ones are read whole."""
    return features[:] if isinstance(features, MappedRows) else features


def row_norms(features: Features, what: str) -> Tensor:
    """The Euclidean length of each row, float64 (N,).

    Raises:
        NumericalError: a row is NaN, Inf or all zero; the first 20 are named.
    """
    norms = torch.empty(len(features), dtype=torch.float64, device=features.device)
    for part in slices(len(features), max(1, (1 << 20) // features.shape[1])):
        norms[part] = sum_by_halves(features[part].to(torch.float64, copy=True).square_()).sqrt_()
    bad = ~torch.isfinite(norms) | (norms == 0)
    if bad.any():
        rows = bad.nonzero().flatten().tolist()
        named = ", ".join(map(str, rows[:_NAMED])) + (", ..." if len(rows) > _NAMED else "")
        raise NumericalError(
            f"{len(rows)} of {len(bad)} rows of {what} are NaN, Inf or zero: rows {named}; check weights and images"
        )
    return norms


def sum_by_halves(values: Tensor) -> Tensor:
    """The sums of rows (N, D), half added to half until one number is left: the same bits on every CPU and GPU.

    torch's own sum goes in an order that depends on the device and its vector units. `values` is used up.
    """
    while values.shape[1] > 1:
        half = (values.shape[1] + 1) // 2
        values[:, : values.shape[1] - half] += values[:, half:]
        values = values[:, :half]
    return values[:, 0].clone()


def slices(total: int, step: int) -> Iterator[slice]:
    """Stretches of `step`, the last of what is left."""
    return (slice(start, min(start + step, total)) for start in range(0, total, step))


def check_fit(queries: Features, gallery: Features) -> None:
    """Refuse two sets of features that cannot be compared: of other widths or on other devices."""
    if queries.shape[1] != gallery.shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} floats a row and the gallery {gallery.shape[1]}; take both from one model"
        )
    if queries.device != gallery.device:
        raise InputError(f"queries lie on {queries.device} and the gallery on {gallery.device}; move one to the other")


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """The value, if it is an integer of at least `least`; else refused by its name."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} is an integer of at least {least}, not {value!r}")
    return int(value)


def _tensor_of(array: np.ndarray, what: str) -> Tensor:
    if array.dtype.kind != "f":
        raise InputError(f"{what} are floats (N, D), not {array.dtype} {array.shape}; convert them")
    array = np.ascontiguousarray(array, dtype=np.float32)
    with warnings.catch_warnings():
        # torch knows no read-only memory, such as a mapped file, and warns; nothing here writes into features.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
