"""Rows with metadata from Python, converted to the columns of a collection."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fastreid.index.columns import OPTIONAL_COLUMNS, ColumnType, Value, convert_name, convert_value, normalize_values
from fastreid.index.tables import find_type
from fastreid.utils.errors import InputError, NumericalError

_NORM_RANGE = (1e-18, 1e18)  # of features; the squares of other norms are not in the range of float32


def convert_records(
    rows: Sequence[Mapping[str, Any]], known: Mapping[str, ColumnType], *, added: str
) -> tuple[list[dict[str, Value | None]], dict[str, ColumnType]]:
    """Return rows for a table, and the types of the columns that the table lacks.

    Args:
        rows: values by column; each has an `id`, unique among them.
        known: columns of the table, with their types.
        added: time of the addition.

    Raises:
        InputError: an id is missing or repeated, or a value does not fit its column.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    new: dict[str, ColumnType] = {
        name: OPTIONAL_COLUMNS.get(name) or find_type([row.get(name) for row in rows])
        for name in names
        if name not in known and convert_name(name) == name
    }
    unusable = [name for name in names if name not in known and name not in new]
    if unusable:
        raise InputError(f"the column {unusable[0]!r} must be named {convert_name(unusable[0])!r}")
    kinds = {**known, **new}
    converted: list[dict[str, Value | None]] = []
    seen: set[Value | None] = set()
    for position, row in enumerate(rows):
        try:
            values = {name: normalize_values(name, convert_value(value, kinds[name])) for name, value in row.items()}
        except InputError as error:
            raise InputError(f"row {position}: {error}")
        if not values.get("id") or values["id"] in seen:
            fault = "is repeated" if values.get("id") else "is missing"
            raise InputError(f"row {position}: the id {fault}; give each drawing its own")
        seen.add(values["id"])
        state: dict[str, Value | None] = {
            "source": "",
            "added": added,
            "size_bytes": 0,
            "mtime_ns": 0,
            "sha256": "",
            "digest": "",
        }
        converted.append({"path": "", "page": 1, **values, **state})
    return converted, new


def format_now() -> str:
    """Return the time in UTC, such as "2026-11-30T16:40:00Z"."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_features(features: Tensor, num: int, dim: int) -> None:
    """Check features that were computed elsewhere.

    Args:
        features: float32 (n, D).
        num: expected n.
        dim: expected D.

    Raises:
        InputError: the shape or the type is another one.
        NumericalError: a feature is NaN, Inf or zero, or its norm is out of range.
    """
    if features.shape != (num, dim) or features.dtype != torch.float32:
        raise InputError(f"features must be float32 {(num, dim)}, not {features.dtype} {tuple(features.shape)}")
    norms = features.double().norm(dim=1)
    is_valid = (norms > _NORM_RANGE[0]) & (norms < _NORM_RANGE[1])
    if not is_valid.all():
        row = int((~is_valid).nonzero()[0])
        raise NumericalError(f"the feature of row {row} has the norm {float(norms[row]):g}; check the model")
