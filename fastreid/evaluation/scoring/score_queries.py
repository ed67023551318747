"""Every query against the truth: from blocks of distances, or from the rows of a ranking, to the scores it gets."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.scoring.ground_truth import Truth
from fastreid.evaluation.scoring.patent_ranks import PATENT_DISTANCES
from fastreid.evaluation.scoring.per_query import RANKS, QueryScores, ScoreSettings, scores_of_patents, scores_of_places
from fastreid.evaluation.scoring.ranks import choose_ranker
from fastreid.evaluation.scoring.roc import AcceptRates
from fastreid.utils.errors import InputError, NumericalError

_AT_ONCE = 1 << 23  # pairs: the 64 MiB of their keys are as many as still gain by being handled together


def judge_blocks(blocks: Iterable[tuple[Tensor, Tensor]], truth: Truth, settings: ScoreSettings) -> QueryScores:
    """What every query gets for distances that come some queries at a time: exact, and nothing holds Q x G.

    Args:
        blocks: the queries' rows, int64 (B,), and their float distances (B, G), on the CPU or on a GPU, where they are
            ranked then; every query once, in any order.
        truth: who matches whom.
        settings: which scores.

    Raises:
        InputError: a block of another shape, a query that comes twice or not at all, or no query with a match.
        NumericalError: a distance is NaN, or Inf where patents are ranked by the mean.
    """
    book, ranker = _Book(truth), choose_ranker()
    patents = PATENT_DISTANCES[settings.patent_distance](truth.gallery_patents)
    rates = AcceptRates(truth.num_wrong_pairs()) if settings.roc else None
    for queries, distances in _pieces(blocks, truth):
        _check_numbers(distances, mean=settings.patent_distance == "mean")
        answers = truth.answers(queries)
        matches, dropped = (torch.from_numpy(rows).to(distances.device) for rows in (answers.matches, answers.dropped))
        places = ranker(distances, matches, dropped).cpu().numpy()
        of_patents = patents(distances, matches, dropped).cpu().numpy() if matches.shape[1] else np.ones(len(queries))
        num_matches = (answers.matches >= 0).sum(axis=1)
        scores = scores_of_places(np.where(places > 0, places, np.inf), num_matches, settings)
        book.enter(queries, num_matches, scores | scores_of_patents(of_patents, num_matches))
        book.first_places[queries] = places[:, 0] if matches.shape[1] else 0
        if rates is not None:
            rates.add(distances, matches, dropped)
    return book.close(rates.rates() if rates is not None else {})


def judge_rows(rows: np.ndarray, truth: Truth, settings: ScoreSettings) -> QueryScores:
    """What every query gets for its nearest rows of the gallery, int64 (Q, K), in order.

    Of rows that are not the whole gallery, the scores that they can tell exactly: with d the fewest rows that count
    for any query, those @k for k up to d and Rank-r for r up to d; R-precision if no query has more matches than rows
    that count; and, by the nearest drawing, patent/Rank-r if for each query r patents or the right one appear, since
    patents appear in the order in which they are ranked.
    """
    book, (num_queries, width) = _Book(truth), rows.shape
    depths, patent_depths = np.full((2, num_queries), np.inf)
    for queries in np.array_split(np.arange(num_queries), -(-rows.size // _AT_ONCE) or 1):
        right, dropped = truth.judge(queries, rows[queries])
        order = np.where(right, (~dropped).cumsum(axis=1), np.inf)
        places = np.sort(order, axis=1)[:, : right.sum(axis=1).max(initial=1)]
        num_matches = truth.num_matches(queries)
        patents = np.where(dropped, -1, truth.gallery_patents[rows[queries]])
        before = ~np.logical_or.accumulate(right, axis=1)
        of_patents = np.where(right.any(axis=1), _num_different(np.where(before, patents, -1)) + 1, np.inf)
        scores = scores_of_places(places, num_matches, settings)
        book.enter(queries, num_matches, scores | scores_of_patents(of_patents, num_matches))
        book.first_places[queries] = places[:, 0]
        if width < truth.num_gallery:
            depths[queries] = (~dropped).sum(axis=1)
            patent_depths[queries] = np.where(right.any(axis=1), np.inf, _num_different(patents))
    if width < truth.num_gallery:
        counted = book.num_matches > 0
        depth, patent_depth = depths[counted].min(initial=np.inf), patent_depths[counted].min(initial=np.inf)
        known = {f"Rank-{r}" for r in RANKS if r <= depth}
        known |= {f"{name}@{settings.top_k}" for name in ("mAP", "P", "R", "nDCG") if settings.top_k <= depth}
        known |= {"R-precision"} if (book.num_matches <= depths)[counted].all() else set()
        if settings.patent_distance == "best":
            known |= {f"patent/Rank-{r}" for r in RANKS if r <= patent_depth}
        book.values = {name: values for name, values in book.values.items() if name in known}
    return book.close({})


class _Book:
    """The scores of all queries while they are taken in."""

    def __init__(self, truth: Truth):
        self.patents = truth.query_patents
        self.values: dict[str, np.ndarray] = {}
        self.num_matches = np.zeros(truth.num_queries, dtype=np.int64)
        self.first_places = np.full(truth.num_queries, np.nan)
        self._times = np.zeros(truth.num_queries, dtype=np.int64)

    def enter(self, queries: np.ndarray, num_matches: np.ndarray, scores: dict[str, np.ndarray]) -> None:
        self.num_matches[queries] = num_matches
        self._times += np.bincount(queries, minlength=len(self._times))
        for name, values in scores.items():
            self.values.setdefault(name, np.full(len(self._times), np.nan))[queries] = values

    def close(self, accept_rates: dict[str, float]) -> QueryScores:
        wrong = np.flatnonzero(self._times != 1)
        if len(wrong):
            raise InputError(
                f"distances of query {wrong[0]} came {self._times[wrong[0]]} times; each of {len(self._times)} comes once"
            )
        first_places = np.where(self.num_matches > 0, self.first_places, np.nan)
        return QueryScores(self.values, self.patents, self.num_matches, first_places, accept_rates)


def _pieces(blocks: Iterable[tuple[Tensor, Tensor]], truth: Truth) -> Iterable[tuple[np.ndarray, Tensor]]:
    """The blocks, checked and in pieces small enough to work on."""
    step = max(1, _AT_ONCE // truth.num_gallery)
    for rows, distances in blocks:
        if distances.shape != (len(rows), truth.num_gallery) or not distances.is_floating_point():
            raise InputError(
                f"distances of {len(rows)} queries to {truth.num_gallery} drawings are floats "
                f"({len(rows)}, {truth.num_gallery}), not {distances.dtype} {tuple(distances.shape)}"
            )
        queries = rows.cpu().numpy()
        strange = queries[(queries < 0) | (queries >= truth.num_queries)]
        if len(strange):
            raise InputError(f"a block holds query {strange[0]}, but there are {truth.num_queries} query ids")
        for start in range(0, len(queries), step):
            yield queries[start : start + step], distances[start : start + step].detach().to(torch.float32)


def _check_numbers(distances: Tensor, *, mean: bool) -> None:
    low, high = (float(value) for value in distances.aminmax())
    if np.isnan(low):
        raise NumericalError("distances hold NaN; check the features they come from")
    if mean and (np.isinf(low) or np.isinf(high)):
        raise NumericalError("distances hold Inf, which has no mean; rank patents by their best drawing")


def _num_different(patents: np.ndarray) -> np.ndarray:
    """How many different patents stand in each row (B, K), the -1 not among them: int64 (B,)."""
    return (np.diff(np.sort(patents, axis=1), axis=1, prepend=-1) != 0).sum(axis=1)
