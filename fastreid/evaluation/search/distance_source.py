"""Where a ranking comes from: the features as they are, or what a re-ranking made of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor

from fastreid.evaluation.search.metric_space import Space
from fastreid.evaluation.search.nearest import Block, distance_blocks, neighbours
from fastreid.structures import Ranking


class Source(ABC):
    """Distances of queries to a whole gallery, by which it is ranked.

    Attributes:
        comparable: whether a distance means the same for every query; if not, they only order each query's gallery.
    """

    comparable = True

    @abstractmethod
    def blocks(self, rows: Tensor | None = None) -> Iterator[Block]:
        """The distances of all queries, or of the given rows of them in that order, some queries at a time."""

    @abstractmethod
    def first(self, k: int) -> Ranking:
        """The k nearest of every query."""


class FromFeatures(Source):
    """The distances of the features themselves.

    Args:
        space: queries, gallery and metric.
        memory_mb: MiB to work in.
        engine: who chooses candidates, as for `nearest`.
        precision: of the product that chooses them.
    """

    def __init__(self, space: Space, *, memory_mb: int, engine: str = "torch", precision: str = "auto"):
        self.space, self.memory_mb, self.engine, self.precision = space, memory_mb, engine, precision

    def blocks(self, rows: Tensor | None = None) -> Iterator[Block]:
        return distance_blocks(self.space, memory_mb=self.memory_mb, rows=rows)

    def first(self, k: int) -> Ranking:
        return neighbours(self.space, k, memory_mb=self.memory_mb, engine=self.engine, precision=self.precision)
