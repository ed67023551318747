"""Re-ranking with local features: the nearest drawings are compared position by position."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastreid.evaluation.features import MIB, Features, check_count, iter_slices
from fastreid.evaluation.postprocess.rerank import DISTANCE_REQUIRED
from fastreid.evaluation.search.distance_source import RerankedDistances
from fastreid.evaluation.search.metric_space import MetricSpace
from fastreid.evaluation.search.nearest import find_neighbors
from fastreid.evaluation.search.order import topk_by_distance
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError

MIN_INK = 0.01  # ratio of ink in the cell of a position; positions with less are not compared
_MAX_LEARNING_ROWS = 1000  # gallery drawings, evenly spaced, from which the projection is learned
_RIDGE = 0.02  # of the mean variance, added to each variance


@dataclass(frozen=True)
class LocalSettings:
    """Settings of `LocalDistances`, which explains them.

    Args:
        top_n: number of nearest drawings to re-rank, at least 1.
        weight: weight of the local score, at least 0; that of the cosine is 1.
        dim: number of principal components of a local feature, at least 1; at most its channels are used.

    Raises:
        InputError: a value is outside its range.
    """

    top_n: int = 100
    weight: float = 2.0
    dim: int = 64

    def __post_init__(self) -> None:
        check_count("top_n (TEST.LOCAL.TOP_N)", self.top_n)
        check_count("dim (TEST.LOCAL.DIM)", self.dim)
        if not (isinstance(self.weight, (int, float)) and math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"weight (TEST.LOCAL.WEIGHT) must be a number of at least 0, not {self.weight!r}")


@dataclass(frozen=True)
class LocalFeatures:
    """Local features of the queries and the gallery.

    Args:
        queries: float32 (Q, 1 + P + P * C): of each drawing 1, the ratio of ink (0..1) in the cells of its P positions,
            and the C channels of each position. The leading 1 keeps the row of a blank drawing from being zero.
        gallery: float32 (G, 1 + P + P * C), the same.
        num_positions: P.

    Raises:
        InputError: the width does not fit the number of positions, or differs between queries and gallery.
    """

    queries: Features
    gallery: Features
    num_positions: int

    def __post_init__(self) -> None:
        widths = {side.shape[1] for side in (self.queries, self.gallery)}
        [width, *others] = widths
        if others or width <= 1 + self.num_positions or (width - 1) % self.num_positions:
            raise InputError(
                f"local features have {' and '.join(map(str, sorted(widths)))} floats, which do not fit "
                f"{self.num_positions} positions (TEST.LOCAL.GRID); extract them again with these settings"
            )

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return which positions of rows (n, 1 + P + P * C) have ink, bool (n, P), and their features (n, P, C)."""
        ink, values = rows[:, 1 : self.num_positions + 1], rows[:, self.num_positions + 1 :]
        return ink >= MIN_INK, values.reshape(len(rows), self.num_positions, -1)


@dataclass(frozen=True)
class LocalProjection:
    """A whitening of local features: a feature x becomes the unit vector of (x - mean) @ matrix.

    Args:
        mean: float32 (C,).
        matrix: float32 (C, d).
    """

    mean: Tensor
    matrix: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Return projected features (..., d) of features (..., C)."""
        return normalize((values - self.mean) @ self.matrix, dim=-1)


def learn_projection(local: LocalFeatures, dim: int) -> LocalProjection:
    """Learn a projection to `dim` principal components of equal variance from positions with ink of the gallery.

    A fiftieth of the mean variance is added to each variance, so that components with little variance stay small.

    Raises:
        InputError: no drawing of the gallery has ink.
    """
    num = len(local.gallery)
    rows = torch.arange(0, num, max(1, num // _MAX_LEARNING_ROWS), device=local.gallery.device)
    has_ink, values = local.split(local.gallery[rows])
    samples = values[has_ink].double()
    if not len(samples):
        raise InputError("TEST.LOCAL: no drawing of the gallery has ink, so there are no local features")
    mean = samples.mean(dim=0)
    covariance = (samples - mean).T @ (samples - mean) / len(samples)
    variances, components = torch.linalg.eigh(covariance)
    variances, components = variances.flip(0)[:dim], components.flip(1)[:, :dim]
    scale = (variances.clamp(min=0) + _RIDGE * covariance.diagonal().mean()).clamp(min=torch.finfo(torch.float32).tiny)
    return LocalProjection(mean.float(), (components / scale.sqrt()).float())


def score_local_matches(query: Tensor, gallery: Tensor, has_ink: Tensor) -> Tensor:
    """Return how well the positions of a query find partners in each of n drawings, 0..1, (n,).

    Two positions match if each is the nearest one of the other (the first of equal ones). The score is the sum of the
    squared positive cosines of all matches, divided by the geometric mean of the numbers of positions. A drawing
    compared with itself has the score 1.

    Args:
        query: unit features (p, d) of the positions of the query that have ink.
        gallery: unit features (n, P, d) of the drawings.
        has_ink: bool (n, P), their positions that have ink.
    """
    num_positions = has_ink.sum(dim=1)
    if not len(query):
        return torch.zeros(len(gallery), device=gallery.device)
    cosines = (gallery @ query.T).masked_fill(~has_ink[:, :, None], -2)  # (n, P, p); no real cosine is below -1
    values, partners = cosines.max(dim=1)
    back = cosines.argmax(dim=2)
    is_mutual = back.gather(1, partners) == torch.arange(len(query), device=query.device)
    matched = (values.clamp(min=0).square() * is_mutual).sum(dim=1)
    return matched / (num_positions.clamp(min=1) * len(query)).sqrt()


class LocalDistances(RerankedDistances):
    """Re-rank the `top_n` nearest drawings of each query by local features; all others keep their order behind them.

    The distance of a drawing is 1 - (cosine + weight * local score), which can be negative; `score_local_matches` is
    the local score of features that are projected by `learn_projection`. Ties are ordered by row. Source: mutual
    nearest neighbors of local features, as in Cao et al., Unifying Deep Local and Global Features for Image Search
    (DELG, ECCV 2020), without their geometric check: views of an object from other sides have no common geometry.

    Args:
        space: queries, gallery and metric; the metric selects the top_n, but the first term of a distance is the cosine
            for every metric.
        local: local features of the same drawings.
        settings: settings of the re-ranking.
        memory_mb: working memory in MiB.
        precision: precision of the search for the nearest drawings, as for `nearest`.
        scores: of an earlier object, for settings that differ only in the weight; None: they are computed.

    Raises:
        InputError: the metric is not a distance, or the numbers of drawings differ.
    """

    setting = "TEST.LOCAL.TOP_N"

    def __init__(
        self,
        space: MetricSpace,
        local: LocalFeatures,
        settings: LocalSettings,
        *,
        memory_mb: int,
        precision: str = "auto",
        scores: tuple[Ranking, Tensor, Tensor] | None = None,
    ):
        if space.squared_l2_factor is None:
            raise InputError(DISTANCE_REQUIRED)
        _check_sizes(space, local)
        if scores is None:
            nearest = find_neighbors(space, settings.top_n, memory_mb=memory_mb, precision=precision)
            scores = (
                nearest,
                _compute_cosines(space, nearest),
                _score(local, nearest, settings.dim, memory_mb=memory_mb),
            )
        self.settings, self.scores = settings, scores
        nearest, cosines, matched = scores
        distances, indices = topk_by_distance(
            1 - (cosines + settings.weight * matched), nearest.indices, nearest.indices.shape[1]
        )
        super().__init__(space, Ranking(indices, distances), memory_mb=memory_mb, top_n=settings.top_n)


def iter_local_distances(
    space: MetricSpace,
    local: LocalFeatures,
    settings: Sequence[LocalSettings],
    *,
    memory_mb: int,
    precision: str = "auto",
) -> Iterator[LocalDistances]:
    """Yield the distances for each of the settings; consecutive ones that differ only in the weight share scores."""
    previous: LocalDistances | None = None
    for choice in settings:
        is_shared = previous is not None and replace(previous.settings, weight=choice.weight) == choice
        scores = previous.scores if previous is not None and is_shared else None
        previous = LocalDistances(space, local, choice, memory_mb=memory_mb, precision=precision, scores=scores)
        yield previous


def _check_sizes(space: MetricSpace, local: LocalFeatures) -> None:
    expected, given = (
        f"{len(side.queries)} queries and {len(side.gallery)} gallery drawings" for side in (space, local)
    )
    if given != expected:
        raise InputError(f"there are local features of {given}, but features of {expected}; extract both again")


def _compute_cosines(space: MetricSpace, nearest: Ranking) -> Tensor:
    """Return the cosines of the queries and their nearest drawings, float32 (Q, n)."""
    cosines = torch.empty_like(nearest.distances)
    for query, rows in enumerate(nearest.indices):
        unit_query = space.queries[query : query + 1].double() / space.query_norms[query]
        unit_rows = space.gallery[rows].double() / space.gallery_norms[rows, None]
        cosines[query] = (unit_rows * unit_query).sum(dim=1).float()
    return cosines


def _score(local: LocalFeatures, nearest: Ranking, dim: int, *, memory_mb: int) -> Tensor:
    """Return the local scores of the queries and their nearest drawings, float32 (Q, n)."""
    project = learn_projection(local, dim)
    num_floats = local.gallery.shape[1] * 3 + local.num_positions**2 * 2  # of a drawing: rows, projected, cosines
    step = max(1, memory_mb * MIB // (4 * num_floats))
    scores = torch.empty_like(nearest.distances)
    for query, rows in enumerate(nearest.indices):
        has_ink, values = local.split(local.queries[query : query + 1])
        positions = project(values[has_ink])
        for part in iter_slices(len(rows), step):
            ink, candidates = local.split(local.gallery[rows[part]])
            scores[query, part] = score_local_matches(positions, project(candidates), ink)
    return scores
