"""Feature rows in a memory-mapped file, read in chunks that do not stay in memory."""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.utils.errors import InputError


class MappedRows:
    """A float32 matrix in a memory-mapped file that is read like a tensor on the CPU, in chunks.

    Pages that were read are released from the memory of this process (on systems with `madvise`), so a matrix larger
    than the memory can be processed; the system decides which pages it caches.

    Args:
        array: float32 (N, D) in C order, as `numpy.load(path, mmap_mode="r")` returns it.

    Raises:
        InputError: the array has another shape, dtype or order, or is not mapped read-only.
    """

    device = torch.device("cpu")
    dtype = torch.float32
    ndim = 2

    @classmethod
    def is_supported(cls, array: NDArray[Any]) -> bool:
        """Return whether an array is a float32 matrix in C order that is mapped read-only."""
        is_float32_matrix = array.ndim == 2 and array.dtype == np.float32 and array.flags.c_contiguous
        return is_float32_matrix and _find_mapping(array) is not None

    def __init__(self, array: NDArray[Any]):
        if array.ndim != 2 or array.dtype != np.float32 or not array.flags.c_contiguous:
            raise InputError(
                f"mapped rows must be float32 (N, D) in C order, not {array.dtype} {array.shape}; convert them"
            )
        self.shape = torch.Size(array.shape)
        self._array = array
        mapping = _find_mapping(array)
        if mapping is None:
            raise InputError("mapped rows must be mapped read-only from a file: numpy.load(path, mmap_mode='r')")
        self._mapping = mapping

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """Return a copy of some rows, float32 (n, D); rows is a slice or int64 (n,)."""
        copy = np.array(self._array[rows.cpu().numpy() if isinstance(rows, Tensor) else rows], dtype=np.float32)
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return torch.from_numpy(copy)

    def split(self, step: int) -> Iterator[Tensor]:
        """Yield copies of `step` rows each, in order; the last one may have fewer."""
        return (self[start : start + step] for start in range(0, len(self), step))


def _find_mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the mapping of an array or of the array it is a view of; None if it is not mapped read-only.

    The pages of a writable mapping contain changes, which releasing them would lose.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable or getattr(base, "mode", "r") != "r":
            return None
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
