"""Conversion of ids from any container of strings or integers to an array, or an error that names the first fault."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid.utils.errors import InputError


class ArrayLike(Protocol):
    """A container that numpy can convert, such as a pandas Series or a pyarrow Array."""

    def __array__(self, *args: Any, **kwargs: Any) -> NDArray[Any]: ...


Ids = Sequence[str] | Sequence[int] | NDArray[Any] | Tensor | ArrayLike

_MISSING_TYPES = ("NoneType", "NAType", "NaTType")  # pandas has its own types for a missing value


def to_id_array(values: Ids, name: str) -> NDArray[Any]:
    """Return ids as an array of strings (dtype kind U) or int64.

    Args:
        values: all strings or all integers: a list, tuple, array (also of dtype object), tensor, pandas Series, pyarrow
            Array, or another container that numpy converts.
        name: of the argument, for messages.

    Raises:
        InputError: no ids, more than one dimension, a missing value, ids of two types or of another type, or an integer
            of more than 64 bits.
    """
    array = _to_array(values)
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"{name} must contain one value per drawing and at least one, not an array {array.shape}")
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind in "OT":
        return _convert_objects(array, name)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise InputError(_describe_missing(name, int(np.isnan(array).argmax()), "NaN"))
    if array.dtype.kind not in "iu":
        hint = "; convert them with .astype(int)" if array.dtype.kind == "f" else ""
        raise InputError(f"{name} must be strings or integers, not {array.dtype}{hint}")
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} contains {array.max()}, which has more than 64 bits with its sign; use strings")
    return array.astype(np.int64)


def _to_array(values: Any) -> NDArray[Any]:
    if isinstance(values, Tensor):
        array: NDArray[Any] = values.detach().cpu().numpy()
        return array
    if isinstance(values, (np.ndarray, range)) or hasattr(values, "__array__"):
        return np.asarray(values)
    return np.asarray(values, dtype=object)  # numpy would convert the integers of a mixed list to strings


def _convert_objects(array: NDArray[Any], name: str) -> NDArray[Any]:
    values = array.tolist()
    kinds = [_find_kind(value) for value in values]
    for position, (value, kind) in enumerate(zip(values, kinds)):
        if kind == "missing":
            raise InputError(_describe_missing(name, position, str(value)))
        if kind not in ("strings", "integers"):
            raise InputError(f"{name} must be strings or integers, but value {position} is of type {kind}")
        if kind != kinds[0]:
            raise InputError(
                f"{name} has {kinds[0]} and, at position {position}, {kind}; make all strings or all integers"
            )
    try:
        return array.astype(np.str_ if kinds[0] == "strings" else np.int64)
    except OverflowError:
        raise InputError(f"{name} contains an integer of more than 64 bits; use strings")


def _describe_missing(name: str, position: int, value: str) -> str:
    return f'{name} has no value ({value}) at position {position}; give every drawing an id, "" if it is unknown'


def _find_kind(value: object) -> str:
    """Return "strings", "integers", "missing" or the name of another type."""
    if isinstance(value, str):
        return "strings"
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return "integers"
    if type(value).__name__ in _MISSING_TYPES or (isinstance(value, (float, np.floating)) and value != value):
        return "missing"
    return type(value).__name__
