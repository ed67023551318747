"""Distance sources: what a gallery is ranked by, such as plain feature distances or re-ranked distances."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor

from fastreid.evaluation.search.metric_space import MetricSpace
from fastreid.evaluation.search.nearest import DistanceBlock, find_neighbors, iter_distance_blocks
from fastreid.structures import Ranking


class DistanceSource(ABC):
    """Distances from queries to the whole gallery.

    Attributes:
        is_comparable: whether distances of different queries can be compared. If not, they only order each query's
            gallery.
    """

    is_comparable = True

    @abstractmethod
    def blocks(self, rows: Tensor | None = None) -> Iterator[DistanceBlock]:
        """Yield the distances of some queries at a time.

        Args:
            rows: int64 (n,), queries to compute, in this order; None: all queries.

        Yields:
            Query rows, int64 (B,), and their distances to the whole gallery, float32 (B, G).
        """

    @abstractmethod
    def topk(self, k: int) -> Ranking:
        """Return the k nearest gallery rows of each query."""


class FeatureDistances(DistanceSource):
    """Distances between the features themselves.

    Args:
        space: queries, gallery and metric.
        memory_mb: working memory in MiB.
        engine: engine that searches the candidates, as for `nearest`.
        precision: precision of the candidate search, as for `nearest`.
    """

    def __init__(self, space: MetricSpace, *, memory_mb: int, engine: str = "torch", precision: str = "auto"):
        self.space, self.memory_mb, self.engine, self.precision = space, memory_mb, engine, precision

    def blocks(self, rows: Tensor | None = None) -> Iterator[DistanceBlock]:
        return iter_distance_blocks(self.space, memory_mb=self.memory_mb, rows=rows)

    def topk(self, k: int) -> Ranking:
        return find_neighbors(self.space, k, memory_mb=self.memory_mb, engine=self.engine, precision=self.precision)
