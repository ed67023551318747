"""Distance sources: what a gallery is ranked by, such as plain feature distances or re-ranked distances."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from fastreid.evaluation.search.metric_space import MetricSpace
from fastreid.evaluation.search.nearest import DistanceBlock, find_neighbors, iter_distance_blocks
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError


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


class RerankedDistances(DistanceSource):
    """A new order of the `top_n` nearest drawings of each query; all others keep their order behind them.

    Args:
        space: queries, gallery and metric.
        ranking: the re-ranked drawings of each query, with their new distances.
        memory_mb: working memory in MiB.
        top_n: number of re-ranked drawings; a small gallery has fewer.

    Attributes:
        setting: name of the setting of `top_n`.
    """

    is_comparable = False
    setting = ""

    def __init__(self, space: MetricSpace, ranking: Ranking, *, memory_mb: int, top_n: int):
        self.space, self.memory_mb, self.top_n = space, memory_mb, top_n
        self._ranking = ranking

    def blocks(self, rows: Tensor | None = None) -> Iterator[DistanceBlock]:
        """Yield distance blocks; the re-ranked drawings get the distance rank - top_n.

        This distance is negative, so they sort before all others.
        """
        for part, original in iter_distance_blocks(self.space, memory_mb=self.memory_mb, rows=rows):
            top = self._ranking.indices[part]
            ranks = torch.arange(top.shape[1], device=original.device, dtype=original.dtype)
            yield part, original.scatter(1, top, (ranks - top.shape[1]).expand_as(top))

    def topk(self, k: int) -> Ranking:
        """Return the k nearest gallery rows of each query.

        Raises:
            InputError: k exceeds top_n.
        """
        if k > self.top_n:
            raise InputError(f"k must be at most top_n ({self.setting}) {self.top_n}, not {k}")
        return Ranking(self._ranking.indices[:, :k], self._ranking.distances[:, :k])
