"""Rows of floats that stay in their file: read by stretches, and given back to the system after each."""

import mmap
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fastreid.utils.errors import InputError


class MappedRows:
    """A float32 table in a mapped file that reads like a tensor on the CPU, stretch by stretch.

    What was read leaves this process's memory again, so a table larger than the memory can be gone through; the
    system keeps of it what it has room for.

    Args:
        array: float32 (N, D) in C order, as `numpy.load(path, mmap_mode="r")` gives it.

    Raises:
        InputError: another kind of array, or one that is not mapped, or mapped to be written to.
    """

    device = torch.device("cpu")
    dtype = torch.float32
    ndim = 2

    @classmethod
    def is_mapped_table(cls, array: np.ndarray) -> bool:
        """Whether an array is what this class is made from."""
        right_kind = array.ndim == 2 and array.dtype == np.float32 and array.flags.c_contiguous
        return right_kind and _find_mapping(array) is not None

    def __init__(self, array: np.ndarray):
        if array.ndim != 2 or array.dtype != np.float32 or not array.flags.c_contiguous:
            raise InputError(
                f"mapped rows are float32 (N, D) in C order, not {array.dtype} {array.shape}; convert them"
            )
        self.shape = torch.Size(array.shape)
        self._array = array
        mapping = _find_mapping(array)
        if mapping is None:
            raise InputError("mapped rows are those of a file, only to be read: numpy.load(path, mmap_mode='r')")
        self._mapping = mapping

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """A copy of some rows, float32 (n, D); rows are a slice or int64 (n,)."""
        taken = np.array(self._array[rows.cpu().numpy() if isinstance(rows, Tensor) else rows], dtype=np.float32)
        self._mapping.madvise(mmap.MADV_DONTNEED)
        return torch.from_numpy(taken)

    def split(self, step: int) -> Iterator[Tensor]:
        """Copies of `step` rows at a time, in order, the last of what is left."""
        return (self[start : start + step] for start in range(0, len(self), step))


def _find_mapping(array: np.ndarray) -> mmap.mmap | None:
    """The mapping an array lies in, which is that of the array it is a view of; None where it lies in none.

    None also where the mapping may be written to: its pages hold what was written, and giving them back would lose it.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable or getattr(base, "mode", "r") != "r":
            return None
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
