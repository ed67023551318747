"""Re-ranking by k-reciprocal neighbours on sparse rows: time and memory grow with drawings times neighbours."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from fastreid.evaluation.features import Features, check_count, in_memory
from fastreid.evaluation.search.distance_source import Source
from fastreid.evaluation.search.metric_space import Space
from fastreid.evaluation.search.nearest import (
    Block,
    distance_blocks,
    first_of,
    neighbours,
    open_space,
    order,
    own_first,
)
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError

FORMS = ("fast-reid", "paper")
NO_DISTANCE = "re-ranking asks for a distance: take the metric cosine or euclidean (TEST.METRIC)"
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class RerankSettings:
    """The choices of `k_reciprocal`, refused when they are made and not hours later."""

    k1: int
    k2: int
    lambda_value: float
    form: str = "fast-reid"
    top_n: int | None = None

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise InputError(f"form (TEST.RERANK.FORM) is {' or '.join(FORMS)}, not {self.form!r}")
        check_count("k1", self.k1)
        if check_count("k2", self.k2) > self.k1:
            raise InputError(f"k2 (TEST.RERANK.K2) is at most k1 (TEST.RERANK.K1), {self.k1}, not {self.k2}")
        if not (isinstance(self.lambda_value, (int, float)) and 0 <= self.lambda_value <= 1):
            raise InputError(f"lambda_value (TEST.RERANK.LAMBDA) is a share 0..1, not {self.lambda_value!r}")
        if self.top_n is not None:
            check_count("top_n", self.top_n)


def k_reciprocal(
    queries: Features | np.ndarray,
    gallery: Features | np.ndarray,
    *,
    k1: int,
    k2: int,
    lambda_value: float,
    metric: str = "cosine",
    k: int | None = None,
    memory_mb: int = 1024,
    form: str = "fast-reid",
    top_n: int | None = None,
) -> Ranking:
    """Rank the gallery anew by how far the neighbours of query and drawing are the same drawings.

    Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017), in the form
    fast-reid's evaluator has. Over queries and gallery together: a drawing's set is the neighbours that have it among
    their own k1 nearest (itself counted among the k1), widened by the sets (of the round(k1/2)+1 nearest) of those
    members whose set overlaps it by more than two thirds. Members weigh softmax(-|x - y|^2), on unit rows for the
    cosine; a drawing's weights are then the mean of those of its k2 nearest. With S the sum over members of the
    smaller weight, the Jaccard distance is 1 - S / (2 - S), and the last distance is
    (1 - lambda_value) * Jaccard + lambda_value * distance.

    The paper's own form counts k1 neighbours beside the drawing itself and measures every row's distances as shares of
    the largest in that row, in the weights and in the last distance.

    Args:
        queries: floats (Q, D).
        gallery: floats (G, D).
        k1: neighbours that must see each other, the drawing itself among them, at least 1.
        k2: neighbours whose weights are averaged, at most k1; 1 averages none.
        lambda_value: share of the first distance in the last, 0..1.
        metric: "cosine" or "euclidean" (squared), for neighbours and the first distance.
        k: columns of the ranking; None: as many as are ranked anew, for the whole gallery Q x G numbers.
        memory_mb: MiB to work in, beside the features, the sparse sets and the answer.
        form: "fast-reid", or "paper", which takes one more pass over all pairs.
        top_n: rank only the first top_n of plain search anew, which saves the distances of all others; None: all.

    Raises:
        InputError: as `nearest`; k2 above k1; lambda_value outside 0..1; another form; k above top_n; inner products.
        NumericalError: a row is NaN, Inf or zero.
    """
    space = open_space(queries, gallery, metric)
    settings = RerankSettings(k1=k1, k2=k2, lambda_value=lambda_value, form=form, top_n=top_n)
    k = check_count("k", (top_n or len(space.gallery)) if k is None else k)
    return KReciprocal(space, settings, memory_mb=memory_mb).first(k)


class KReciprocal(Source):
    """The distances `k_reciprocal` ranks by; made once, they serve any number of passes.

    Args:
        space: queries, gallery and metric.
        settings: the choices.
        memory_mb: MiB to work in, beside the features and the sparse sets.
        precision: of the product that chooses neighbours, as for `nearest`.
    """

    def __init__(self, space: Space, settings: RerankSettings, *, memory_mb: int, precision: str = "auto"):
        if space.squares_per_distance is None:
            raise InputError(NO_DISTANCE)
        self.space, self.settings, self.memory_mb, self.precision = space, settings, memory_mb, precision
        self.comparable = settings.top_n is None
        rows = torch.cat([in_memory(space.queries), in_memory(space.gallery)])
        everything = type(space)(rows, rows)
        self._longest = _largest(everything, memory_mb=memory_mb) if settings.form == "paper" else None
        weights = _weights(everything, settings, self._longest, memory_mb=memory_mb, precision=precision)
        self._mine, self._theirs = weights[: len(space.queries)], weights[len(space.queries) :].tocsc()

    def blocks(self, rows: Tensor | None = None) -> Iterator[Block]:
        """Where only the first are ranked anew, these have their new place less `top_n`, so all lie before the rest."""
        for part, plain in distance_blocks(self.space, memory_mb=self.memory_mb, rows=rows):
            last = self._last(part, plain, self._jaccard(part))
            if self.settings.top_n is not None:
                columns = torch.arange(plain.shape[1], device=plain.device)
                _, first = order.first(plain, columns, self.settings.top_n)
                _, first = order.first(last.gather(1, first), first, first.shape[1])
                places = torch.arange(first.shape[1], device=plain.device, dtype=plain.dtype)
                last = plain.scatter(1, first, (places - first.shape[1]).expand_as(first))
            yield part, last

    def first(self, k: int) -> Ranking:
        top_n = self.settings.top_n
        if top_n is None:
            return first_of(self.blocks(), k)
        if k > top_n:
            raise InputError(f"k is {k}, but only the first {top_n} are ranked anew; raise top_n (TEST.RERANK.TOP_N)")
        plain = neighbours(self.space, top_n, memory_mb=self.memory_mb, precision=self.precision)
        parts = []
        for part in torch.arange(len(plain.indices), device=plain.indices.device).split(_ROWS_AT_A_TIME // 8):
            found = plain.indices[part]
            jaccard = self._jaccard(part).to(found.device).gather(1, found)
            parts.append(order.first(self._last(part, plain.distances[part], jaccard), found, k))
        return Ranking(torch.cat([rows for _, rows in parts]), torch.cat([distances for distances, _ in parts]))

    def with_share(self, lambda_value: float) -> "KReciprocal":
        """The same sets with another share of the first distance."""
        other = copy.copy(self)
        other.settings = replace(self.settings, lambda_value=lambda_value)
        return other

    def _last(self, queries: Tensor, plain: Tensor, jaccard: Tensor) -> Tensor:
        """The mix of both distances, (B, n)."""
        share = self.settings.lambda_value
        if self._longest is not None:
            plain = plain / self._longest[queries.cpu(), None].to(plain)
        return (plain * share).add_(jaccard.to(plain), alpha=1 - share)

    def _jaccard(self, queries: Tensor) -> Tensor:
        """The Jaccard distances of some queries' weights to those of the whole gallery, float32 (B, G)."""
        return torch.from_numpy(np.stack([_jaccard(self._mine, self._theirs, row) for row in queries.tolist()]))


def _largest(space: Space, *, memory_mb: int) -> Tensor:
    """The largest distance of each row, float64 (N,), above 0."""
    largest = torch.empty(len(space.queries), dtype=torch.float64)
    for part, distances in distance_blocks(space, memory_mb=memory_mb):
        largest[part.cpu()] = distances.amax(dim=1).double().cpu()
    return largest.clamp(min=torch.finfo(torch.float32).tiny)


def _weights(
    space: Space, settings: RerankSettings, largest: Tensor | None, *, memory_mb: int, precision: str
) -> sparse.csr_array:
    """Each drawing's weights on the drawings of its widened set, sparse (N, N), rows that sum to 1."""
    k1, k2 = settings.k1, settings.k2
    k = k1 if largest is None else k1 + 1
    found = neighbours(space, k, memory_mb=memory_mb, precision=precision).indices
    ranks = own_first(found, torch.arange(len(found), device=found.device)).cpu().numpy()
    near = _reciprocal(ranks)
    half = _reciprocal(ranks[:, : round(k1 / 2) + 1])
    sets = _widened(near, half)
    weights = _softmax_weights(space, sets, largest)
    if k2 > 1:
        closest = _indicator(ranks[:, :k2])
        weights = (closest @ weights) / min(k2, ranks.shape[1])
    return weights


def _indicator(columns: np.ndarray) -> sparse.csr_array:
    """1 at the given columns of each row, sparse (N, N)."""
    num, width = columns.shape
    pointers = np.arange(0, num * width + 1, width)
    return sparse.csr_array((np.ones(num * width), columns.ravel(), pointers), shape=(num, num))


def _reciprocal(ranks: np.ndarray) -> sparse.csr_array:
    """1 where two drawings have each other among their neighbours."""
    sees = _indicator(ranks)
    return sees.multiply(sees.T).tocsr()


def _widened(near: sparse.csr_array, half: sparse.csr_array) -> sparse.csr_array:
    """The sets with those of their members added whose own lies in them by more than two thirds."""
    parts = []
    for start in range(0, near.shape[0], _ROWS_AT_A_TIME):
        sets = near[start : start + _ROWS_AT_A_TIME]
        common = (sets @ half.T).multiply(sets).tocoo()
        joins = 3 * common.data > 2 * np.diff(half.indptr)[common.col]
        joined = sparse.csr_array((common.data[joins], (common.row[joins], common.col[joins])), shape=sets.shape)
        parts.append(sets + joined @ half)
    return sparse.vstack(parts, format="csr")


def _softmax_weights(space: Space, sets: sparse.csr_array, largest: Tensor | None) -> sparse.csr_array:
    """softmax(-squared distance) over each set, or of its share of the row's largest.

    On unit rows the squared distance is twice the cosine's, of which a share sees nothing.
    """
    pairs = sets.tocoo()
    device = space.queries.device
    left, right = (torch.from_numpy(part.astype(np.int64)).to(device) for part in (pairs.row, pairs.col))
    distances = space.pair_distances(left, right).double().cpu()
    if largest is None:
        squares = (distances * (space.squares_per_distance or 1)).numpy()
    else:
        squares = (distances / largest[left.cpu()]).numpy()
    # Every set holds the drawing itself, 0 away, so no sum is less than 1.
    powers = sparse.csr_array((np.exp(-squares), (pairs.row, pairs.col)), shape=sets.shape)
    return powers.multiply(1 / powers.sum(axis=1)[:, None]).tocsr()


def _jaccard(mine: sparse.csr_array, theirs: sparse.csc_array, row: int) -> np.ndarray:
    """The Jaccard distance of one query's weights to those of every drawing of the gallery, float32 (G,)."""
    entries = slice(mine.indptr[row], mine.indptr[row + 1])
    columns, weights = mine.indices[entries], mine.data[entries]
    starts = theirs.indptr[columns]
    counts = theirs.indptr[columns + 1] - starts
    # The stretches of `theirs` that belong to the columns, one after the other.
    places = np.arange(counts.sum()) + np.repeat(starts - np.concatenate([[0], counts[:-1].cumsum()]), counts)
    smaller = np.minimum(np.repeat(weights, counts), theirs.data[places])
    common = np.bincount(theirs.indices[places], weights=smaller, minlength=theirs.shape[0])
    return (1 - common / (2 - common)).clip(min=0).astype(np.float32)
