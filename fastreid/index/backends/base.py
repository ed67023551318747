"""The interface of a back end: a table of drawings with one vector each.

A back end stores rows, evaluates filters and returns candidates for the nearest rows. Everything else, such as exact
distances, ties and several query pictures, is computed by `fastreid.index.search`, so that all back ends return the
same results.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fastreid.index.columns import ColumnType, Row
from fastreid.index.filters import Filter
from fastreid.utils.errors import InputError

MIN_ROWS_PER_PARTITION = 256  # that the training of an index needs


@dataclass(frozen=True)
class IndexSettings:
    """How a collection is searched; 0 selects the value from the number of rows.

    Args:
        exact_max_rows: up to this number of rows every search is exact; above, an index selects candidates.
        num_partitions: partitions of the index; 0: the square root of the number of rows, but at most one for each
            MIN_ROWS_PER_PARTITION rows.
        num_sub_vectors: bytes of a vector in an IVF-PQ index; 0: an IVF-RQ index, which has a bit for each value, or
            if the dimension is no multiple of 8, the largest divisor of the dimension up to an eighth of it.
        num_probes: partitions that a search reads; 0: so many that a sample of the rows has a recall@10 of 0.95.
        refine_factor: candidates per result that are ranked again by their stored vectors.

    Raises:
        InputError: a number is negative, or `refine_factor` is 0.
    """

    exact_max_rows: int = 200_000
    num_partitions: int = 0
    num_sub_vectors: int = 0
    num_probes: int = 0
    refine_factor: int = 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            minimum = int(name == "refine_factor")
            if value < minimum:
                raise InputError(f"{name} is {value}; allowed are integers >= {minimum}")

    def choose_partitions(self, num_rows: int) -> int:
        """Return the number of partitions for a number of rows."""
        return self.num_partitions or max(1, min(round(num_rows**0.5), num_rows // MIN_ROWS_PER_PARTITION))

    def choose_sub_vectors(self, dim: int) -> int:
        """Return the number of bytes of a compressed vector.

        Raises:
            InputError: `num_sub_vectors` does not divide the dimension.
        """
        if self.num_sub_vectors and dim % self.num_sub_vectors:
            raise InputError(f"num_sub_vectors is {self.num_sub_vectors}, which does not divide the dimension {dim}")
        return self.num_sub_vectors or max(num for num in range(1, max(1, dim // 8) + 1) if dim % num == 0)


@dataclass(frozen=True)
class Candidates:
    """Rows among which the nearest ones of a query are.

    Args:
        rows: their columns, without the vector.
        vectors: their stored vectors, float32 (n, D).
    """

    rows: Sequence[Row]
    vectors: Tensor


class Backend(abc.ABC):
    """A table of drawings; its column `id` is unique. Only one process may write at a time, several may read."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Number of values of a vector."""

    @abc.abstractmethod
    def columns(self) -> dict[str, ColumnType]:
        """Return the columns with their types, without the vector."""

    @abc.abstractmethod
    def add_columns(self, columns: Mapping[str, ColumnType]) -> None:
        """Add columns, in which all existing rows have no value."""

    @abc.abstractmethod
    def insert(self, rows: Sequence[Row], vectors: Tensor) -> None:
        """Add rows with new ids, all or none; the vectors are float32 (n, D)."""

    @abc.abstractmethod
    def replace(self, rows: Sequence[Row], vectors: Tensor) -> None:
        """Replace the rows with the same ids, all or none, and add those that are missing."""

    @abc.abstractmethod
    def delete(self, node: Filter) -> int:
        """Delete the rows that fulfill a filter and return their number."""

    @abc.abstractmethod
    def count(self, node: Filter | None = None) -> int:
        """Return the number of rows that fulfill a filter."""

    @abc.abstractmethod
    def get(self, ids: Sequence[str]) -> Candidates:
        """Return the rows with these ids, in their order, without those that do not exist."""

    @abc.abstractmethod
    def scan(self, columns: Sequence[str], node: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield some columns of the rows that fulfill a filter, in blocks; a vector is a float32 array."""

    @abc.abstractmethod
    def find_candidates(
        self, query: Tensor, num: int, *, node: Filter | None = None, distinct: str | None = None
    ) -> Candidates:
        """Return rows that contain the nearest ones by the cosine.

        Args:
            query: float32 (D,).
            num: number of nearest rows that they contain, or all that there are.
            node: only rows that fulfill this filter.
            distinct: contain the nearest row of each of the `num` nearest values of this column, where each missing
                value counts as its own; None: the `num` nearest rows.
        """

    @abc.abstractmethod
    def maintain(self, *, thoroughly: bool) -> None:
        """Merge small files, update the index if the table needs one, and remove old versions.

        Args:
            thoroughly: do all of it now and remove all old versions; otherwise only what is worth its time.
        """

    @abc.abstractmethod
    def read_version(self) -> int:
        """Return a number that each change of the table increases."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return properties for people: the version, the number of files and the index."""
