"""Write the rows of a collection to a file."""

import csv
import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.index.collection import Collection
from fastreid.index.columns import VECTOR
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import atomic_write, check_writable


def export_collection(collection: Collection, path: Path, *, where: str = "") -> int:
    """Write metadata (.csv), features (.npy) or both (.parquet) of drawings, ordered by id.

    Args:
        collection: the collection.
        path: the file; its suffix selects what is written.
        where: filter; "": all drawings.

    Returns:
        The number of drawings.

    Raises:
        InputError: the filter is invalid or no drawing fulfills it.
        StorageError: the file cannot be written.
    """
    check_writable(path)
    columns = list(collection.columns())
    wanted = {".csv": columns, ".npy": ["id", VECTOR], ".parquet": [*columns, VECTOR]}[path.suffix]
    rows = sorted((row for block in collection.scan(wanted, where) for row in block), key=lambda row: str(row["id"]))
    if not rows:
        raise InputError(f"{collection.uri}: no drawing fulfills the filter, or the collection is empty")
    writers = {".csv": _encode_csv, ".npy": _encode_npy, ".parquet": _encode_parquet}
    content = writers[path.suffix](rows)
    with atomic_write(path) as file:
        file.write(content)
    return len(rows)


def _encode_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _encode_npy(rows: list[dict[str, Any]]) -> memoryview:
    content = io.BytesIO()
    np.save(content, np.stack([row[VECTOR] for row in rows]))
    return content.getbuffer()


def _encode_parquet(rows: list[dict[str, Any]]) -> bytes:
    try:
        pa, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise EnvironmentSetupError("a .parquet file needs pyarrow: pip install pyarrow") from error
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue().to_pybytes())
