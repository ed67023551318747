"""Scores of each query from blocks of distances or from a ranking."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.evaluation.scoring.patent_ranks import PATENT_DISTANCES
from fastreid.evaluation.scoring.per_query import (
    RANKS,
    QueryScores,
    ScoreSettings,
    compute_drawing_scores,
    compute_patent_scores,
)
from fastreid.evaluation.scoring.ranks import choose_rank_function
from fastreid.evaluation.scoring.roc import TprAtFpr
from fastreid.utils.errors import InputError, NumericalError

_MAX_CHUNK_PAIRS = 1 << 23  # (query, gallery) pairs per chunk: 64 MiB of keys; larger chunks are no faster


def score_distance_blocks(
    blocks: Iterable[tuple[Tensor, Tensor]], truth: GroundTruth, settings: ScoreSettings
) -> QueryScores:
    """Return the scores of each query from blocks of distances, without storing all Q x G distances.

    Args:
        blocks: query indices, int64 (B,), and their floating-point distances (B, G), on the CPU or on a GPU, where they
            are then ranked; each query exactly once, in any order.
        truth: relevant and ignored rows.
        settings: scoring options.

    Raises:
        InputError: a block has a wrong shape, a query is repeated or missing, or no query has a match.
        NumericalError: a distance is NaN, or Inf if patents are ranked by the mean.
    """
    accumulator, compute_ranks = _ScoreAccumulator(truth), choose_rank_function()
    compute_patent_ranks = PATENT_DISTANCES[settings.patent_distance](truth.gallery_patents)
    roc = TprAtFpr(truth.count_negative_pairs()) if settings.roc else None
    for queries, distances in _iter_checked_chunks(blocks, truth):
        _check_finite(distances, allow_inf=settings.patent_distance != "mean")
        relevance = truth.find_relevance(queries)
        matches, ignored = (
            torch.from_numpy(rows).to(distances.device) for rows in (relevance.matches, relevance.ignored)
        )
        ranks = compute_ranks(distances, matches, ignored).cpu().numpy()
        has_matches = matches.shape[1] > 0
        patent_ranks = (
            compute_patent_ranks(distances, matches, ignored).cpu().numpy() if has_matches else np.ones(len(queries))
        )
        num_matches = (relevance.matches >= 0).sum(axis=1)
        scores = compute_drawing_scores(np.where(ranks > 0, ranks, np.inf), num_matches, settings)
        accumulator.add(queries, num_matches, scores | compute_patent_scores(patent_ranks, num_matches))
        accumulator.first_ranks[queries] = ranks[:, 0] if has_matches else 0
        if roc is not None:
            roc.add(distances, matches, ignored)
    return accumulator.finish(roc.compute() if roc is not None else {})


def score_topk(rows: NDArray[np.int64], truth: GroundTruth, settings: ScoreSettings) -> QueryScores:
    """Return the scores of each query from their nearest gallery rows, int64 (Q, K), nearest first.

    If K is smaller than the gallery, only the scores that are exact are returned. With d the smallest number of rows of
    a query that are not ignored, these are: scores @k for k <= d; Rank-r and Recall@r for r <= d; R-precision and MAP@R
    if no query has more matches than rows that are not ignored; and, for patent_distance "best", patent/Rank-r if the
    rows of each query contain the correct patent or at least r patents (patents rank in the order in which they first
    appear).

    Args:
        rows: gallery rows, int64 (Q, K), nearest first.
        truth: ground truth of the Q queries and the gallery.
        settings: scores to compute.
    """
    accumulator, (num_queries, num_columns) = _ScoreAccumulator(truth), rows.shape
    depths, patent_depths = np.full((2, num_queries), np.inf)
    for queries in np.array_split(np.arange(num_queries), -(-rows.size // _MAX_CHUNK_PAIRS) or 1):
        is_match, is_ignored = truth.classify_rows(queries, rows[queries])
        row_ranks = np.where(is_match, (~is_ignored).cumsum(axis=1), np.inf)
        ranks = np.sort(row_ranks, axis=1)[:, : is_match.sum(axis=1).max(initial=1)]
        num_matches = truth.count_matches(queries)
        patents = np.where(is_ignored, -1, truth.gallery_patents[rows[queries]])
        is_before_match = ~np.logical_or.accumulate(is_match, axis=1)
        num_before = _count_distinct(np.where(is_before_match, patents, -1))
        patent_ranks = np.where(is_match.any(axis=1), num_before + 1, np.inf)
        scores = compute_drawing_scores(ranks, num_matches, settings)
        accumulator.add(queries, num_matches, scores | compute_patent_scores(patent_ranks, num_matches))
        accumulator.first_ranks[queries] = ranks[:, 0]
        if num_columns < truth.num_gallery:
            depths[queries] = (~is_ignored).sum(axis=1)
            patent_depths[queries] = np.where(is_match.any(axis=1), np.inf, _count_distinct(patents))
    if num_columns < truth.num_gallery:
        has_match = accumulator.num_matches > 0
        depth, patent_depth = depths[has_match].min(initial=np.inf), patent_depths[has_match].min(initial=np.inf)
        exact = {f"Rank-{r}" for r in RANKS if r <= depth}
        exact |= {f"{name}@{settings.top_k}" for name in ("mAP", "P", "R", "nDCG") if settings.top_k <= depth}
        exact |= {f"Recall@{k}" for k in settings.recalls if k <= depth}
        exact |= {"R-precision", "MAP@R"} if (accumulator.num_matches <= depths)[has_match].all() else set()
        if settings.patent_distance == "best":
            exact |= {f"patent/Rank-{r}" for r in RANKS if r <= patent_depth}
        accumulator.values = {name: values for name, values in accumulator.values.items() if name in exact}
    return accumulator.finish({})


class _ScoreAccumulator:
    """Collects the scores of each query, batch by batch."""

    def __init__(self, truth: GroundTruth):
        self.patents = truth.query_patents
        self.values: dict[str, NDArray[np.float64]] = {}
        self.num_matches = np.zeros(truth.num_queries, dtype=np.int64)
        self.first_ranks = np.full(truth.num_queries, np.nan)
        self._num_added = np.zeros(truth.num_queries, dtype=np.int64)

    def add(
        self, queries: NDArray[np.int64], num_matches: NDArray[np.int64], scores: dict[str, NDArray[np.float64]]
    ) -> None:
        self.num_matches[queries] = num_matches
        self._num_added += np.bincount(queries, minlength=len(self._num_added))
        for name, values in scores.items():
            self.values.setdefault(name, np.full(len(self._num_added), np.nan))[queries] = values

    def finish(self, tpr_at_fpr: dict[str, float]) -> QueryScores:
        wrong = np.flatnonzero(self._num_added != 1)
        if len(wrong):
            raise InputError(
                f"the blocks contain query {wrong[0]} {self._num_added[wrong[0]]} times; "
                f"each of the {len(self._num_added)} queries must occur once"
            )
        first_ranks = np.where(self.num_matches > 0, self.first_ranks, np.nan)
        return QueryScores(self.values, self.patents, self.num_matches, first_ranks, tpr_at_fpr)


def _iter_checked_chunks(
    blocks: Iterable[tuple[Tensor, Tensor]], truth: GroundTruth
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield the blocks, validated and split into chunks of at most _MAX_CHUNK_PAIRS pairs."""
    step = max(1, _MAX_CHUNK_PAIRS // truth.num_gallery)
    for rows, distances in blocks:
        if distances.shape != (len(rows), truth.num_gallery) or not distances.is_floating_point():
            raise InputError(
                f"distances of {len(rows)} queries to {truth.num_gallery} drawings must be floats "
                f"({len(rows)}, {truth.num_gallery}), not {distances.dtype} {tuple(distances.shape)}"
            )
        queries = rows.cpu().numpy()
        invalid = queries[(queries < 0) | (queries >= truth.num_queries)]
        if len(invalid):
            raise InputError(f"a block contains query {invalid[0]}, but there are {truth.num_queries} query ids")
        for start in range(0, len(queries), step):
            yield queries[start : start + step], distances[start : start + step].detach().to(torch.float32)


def _check_finite(distances: Tensor, *, allow_inf: bool) -> None:
    low, high = (float(value) for value in distances.aminmax())
    if np.isnan(low):
        raise NumericalError("distances contain NaN; check the features they were computed from")
    if not allow_inf and (np.isinf(low) or np.isinf(high)):
        raise NumericalError("distances contain Inf, which has no mean; rank patents by their nearest drawing")


def _count_distinct(patents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of distinct patents in each row (B, K), excluding -1: int64 (B,)."""
    is_new: NDArray[np.bool_] = np.diff(np.sort(patents, axis=1), axis=1, prepend=-1) != 0
    counts: NDArray[np.int64] = is_new.sum(axis=1)
    return counts
