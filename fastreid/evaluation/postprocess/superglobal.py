"""SuperGlobal re-ranking: refine the features of the nearest drawings by each other, and the query by the best ones."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from fastreid.evaluation.features import check_count, iter_slices, pairwise_sum
from fastreid.evaluation.postprocess.rerank import DISTANCE_REQUIRED
from fastreid.evaluation.search.distance_source import RerankedDistances
from fastreid.evaluation.search.metric_space import CosineSpace, MetricSpace
from fastreid.evaluation.search.nearest import (
    find_neighbors,
    iter_distance_blocks,
    self_first,
    topk_of_blocks,
)
from fastreid.evaluation.search.order import topk_by_distance
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError

_CHUNK_FLOATS = 1 << 20  # float64 values of refined features computed at a time


@dataclass(frozen=True)
class SuperGlobalSettings:
    """Settings of `SuperGlobalDistances`, which explains them.

    Args:
        top_n: number of nearest drawings to re-rank, at least 1.
        k: number of neighbors of each of them, at least 1; at most top_n - 1 are used.
        beta: weight of a neighbor with cosine 1, at least 0.

    Raises:
        InputError: a value is outside its range.
    """

    top_n: int = 400
    k: int = 9
    beta: float = 0.15

    def __post_init__(self) -> None:
        check_count("top_n (TEST.SUPERGLOBAL.TOP_N)", self.top_n)
        check_count("k (TEST.SUPERGLOBAL.K)", self.k)
        if not (isinstance(self.beta, (int, float)) and math.isfinite(self.beta) and self.beta >= 0):
            raise InputError(f"beta (TEST.SUPERGLOBAL.BETA) must be a number of at least 0, not {self.beta!r}")


class SuperGlobalDistances(RerankedDistances):
    """Re-rank the `top_n` nearest drawings of each query by refined features; all others keep their order behind them.

    Source: Shao et al., Global Features are All You Need for Image Retrieval and Reranking (ICCV 2023), as in the
    authors' implementation. For each query q and its top_n nearest drawings, on unit features:

    1. The refined feature of a drawing x is (x + beta * sum of s * y) / (1 + beta * sum of s) over its k nearest other
       drawings y among the top_n, where s is the cosine of x and y.
    2. The expanded query is the largest value of each component (generalized mean with p = infinity) over the refined
       features of the k + 1 drawings with the largest q . refined feature.
    3. The score of a drawing is the mean of the products of its refined feature with q and with the expanded query.
       Its distance is 1 - score, which can be negative, as the expanded query is not normalized.

    Two cases that the source leaves open: a negative cosine counts as 0, so that weights are positive; ties are ordered
    by the distance of the metric, then by row.

    The ranking is computed once and serves any number of passes. In addition to `memory_mb`, memory is needed for the
    features, for the ranking (12 bytes for each re-ranked drawing) and for top_n features (16 bytes per value).

    Args:
        space: queries, gallery and metric; the metric selects the top_n, but scores are cosines for every metric.
        settings: settings of the re-ranking.
        memory_mb: working memory in MiB.
        precision: precision of the search for the nearest drawings, as for `nearest`.
        ranking: the re-ranked drawings of each query, if they are known; None: they are computed.

    Raises:
        InputError: the metric is not a distance.
    """

    setting = "TEST.SUPERGLOBAL.TOP_N"

    def __init__(
        self,
        space: MetricSpace,
        settings: SuperGlobalSettings,
        *,
        memory_mb: int,
        precision: str = "auto",
        ranking: Ranking | None = None,
    ):
        if space.squared_l2_factor is None:
            raise InputError(DISTANCE_REQUIRED)
        self.settings = settings
        if ranking is None:
            [ranking] = _rank(space, [settings], memory_mb=memory_mb, precision=precision)
        super().__init__(space, ranking, memory_mb=memory_mb, top_n=settings.top_n)


def iter_super_globals(
    space: MetricSpace, settings: Sequence[SuperGlobalSettings], *, memory_mb: int, precision: str = "auto"
) -> Iterator[SuperGlobalDistances]:
    """Yield the distances for each of the settings; consecutive ones with the same top_n share their neighbors."""
    for _, group in groupby(settings, key=lambda choice: choice.top_n):
        choices = list(group)
        for choice, ranking in zip(choices, _rank(space, choices, memory_mb=memory_mb, precision=precision)):
            yield SuperGlobalDistances(space, choice, memory_mb=memory_mb, ranking=ranking)


def _rank(
    space: MetricSpace, settings: Sequence[SuperGlobalSettings], *, memory_mb: int, precision: str
) -> list[Ranking]:
    """Return the ranking of the top_n drawings of each query for each of the settings, which have the same top_n."""
    nearest = find_neighbors(space, settings[0].top_n, memory_mb=memory_mb, precision=precision)
    max_k = max(choice.k for choice in settings)
    rankings = [Ranking(nearest.indices.clone(), nearest.distances.clone()) for _ in settings]
    for query, rows in enumerate(nearest.indices):
        unit_query = space.queries[query : query + 1].double() / space.query_norms[query]
        neighborhood = _Neighborhood(space.gallery[rows], max_k, memory_mb=memory_mb)
        for choice, ranking in zip(settings, rankings):
            distances = _score(unit_query, neighborhood.refine(choice.k, choice.beta), choice.k)
            [ranking.distances[query]], [ranking.indices[query]] = topk_by_distance(distances[None], rows, len(rows))
    return rankings


class _Neighborhood:
    """The nearest drawings of a query and their neighbors among each other.

    Args:
        candidates: features of the drawings, float32 (n, D).
        max_k: largest number of neighbors.
        memory_mb: working memory in MiB.
    """

    def __init__(self, candidates: Tensor, max_k: int, *, memory_mb: int):
        space = CosineSpace(candidates, candidates)
        # With so few rows, computing all distances is faster than selecting candidates.
        nearest = topk_of_blocks(iter_distance_blocks(space, memory_mb=memory_mb), max_k + 1)
        self.neighbors = self_first(nearest.indices, torch.arange(len(candidates), device=candidates.device))
        self.cosines = (1 - nearest.distances.double()).clamp(min=0)
        self.unit_rows = candidates.double() / space.gallery_norms[:, None]

    def refine(self, k: int, beta: float) -> Tensor:
        """Return the refined features, float32 (n, D)."""
        weights = beta * self.cosines[:, : k + 1]
        weights[:, 0] = 1  # the drawing itself
        weights /= pairwise_sum(weights.clone())[:, None]
        neighbors = self.neighbors[:, : k + 1]
        return embedding_bag(neighbors, self.unit_rows, per_sample_weights=weights, mode="sum").float()


def _score(unit_query: Tensor, refined: Tensor, k: int) -> Tensor:
    """Return the new distances from a unit query, float64 (1, D), to its candidates, float32 (n,)."""
    products = _multiply(refined, unit_query)
    _, [best] = topk_by_distance((1 - products).float()[None], torch.arange(len(refined), device=refined.device), k + 1)
    expanded = refined[best].amax(dim=0, keepdim=True)
    return (1 - (products + _multiply(refined, expanded)) / 2).float()


def _multiply(rows: Tensor, vector: Tensor) -> Tensor:
    """Return the products of rows, float32 (n, D), and a vector (1, D) as float64 (n,)."""
    products = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for part in iter_slices(len(rows), max(1, _CHUNK_FLOATS // rows.shape[1])):
        products[part] = pairwise_sum(rows[part].double().mul_(vector))
    return products
