"""Rows and vectors as Arrow tables."""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastreid.index.backends.base import Candidates
from fastreid.index.columns import VECTOR, ColumnType, Row
from fastreid.utils.errors import InputError


def to_arrow(rows: Sequence[Row], vectors: Tensor, schema: Any) -> Any:
    """Return rows with their vectors, float32 (n, D), as an Arrow table of a schema.

    Raises:
        InputError: the vectors have another shape or dtype.
    """
    pa = importlib.import_module("pyarrow")
    dim = int(schema.field(VECTOR).type.list_size)
    if vectors.shape != (len(rows), dim) or vectors.dtype != torch.float32:
        raise InputError(
            f"vectors of {len(rows)} drawings must be float32 ({len(rows)}, {dim}), not {vectors.dtype} "
            f"{tuple(vectors.shape)}"
        )
    values = pa.array(vectors.contiguous().numpy().ravel())
    arrays = [
        pa.FixedSizeListArray.from_arrays(values, dim)
        if field.name == VECTOR
        else pa.array([row.get(field.name) for row in rows], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def split_vectors(table: Any, dim: int) -> Candidates:
    """Return the rows of a result with their vectors of D values."""
    vectors = table.column(VECTOR).combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    other = [name for name in table.column_names if name not in (VECTOR, "_distance")]
    return Candidates(table.select(other).to_pylist(), torch.from_numpy(vectors.copy()))


def arrow_type(kind: ColumnType) -> Any:
    """Return the Arrow type of a column."""
    pa = importlib.import_module("pyarrow")
    types = {"text": pa.string, "integer": pa.int64, "number": pa.float64, "date": pa.date32, "boolean": pa.bool_}
    return types[kind]()


def column_type(data_type: Any) -> ColumnType:
    """Return the type of a column for its Arrow type."""
    names: dict[str, ColumnType] = {
        "string": "text",
        "large_string": "text",
        "int64": "integer",
        "double": "number",
        "date32[day]": "date",
        "bool": "boolean",
    }
    return names[str(data_type)]
