"""Scores of a ranking: mAP, mAP@k, CMC ranks, mINP and accept rates, all x100.

Everything follows from the places of a query's matches: with the matches at places p_1 < ... < p_m (from 1, rows that
do not count taken out; see `Truth`),

    AP    = mean over i of i / p_i
    AP@k  = sum of i / p_i over p_i <= k, divided by min(m, k)
    INP   = m / p_m                                       (Ye et al., Deep Learning for Person Re-identification, 2021)
    Rank-r: whether p_1 <= r

and the scores are their means over the queries that have a match.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.features import check_count
from fastreid.evaluation.ranker import choose_ranker
from fastreid.evaluation.roc import FALSE_ACCEPT_RATES, AcceptRates
from fastreid.evaluation.search import distance_blocks, open_space
from fastreid.evaluation.truth import Ids, Truth
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, NumbersError

RANKS = (1, 5, 10)


def score(
    ranking_or_distances: Ranking | Tensor | np.ndarray,
    query_ids: Ids,
    gallery_ids: Ids,
    *,
    query_cameras: Ids | None = None,
    gallery_cameras: Ids | None = None,
    own_rows: Ids | None = None,
    top_k: int = 10,
    roc: bool = False,
) -> dict[str, float]:
    """Scores of a ranking or of a matrix of distances against the patents' ids; formulas at the top of this file.

    A ranking of the whole gallery and a matrix give every score. A shorter ranking gives those it can tell exactly:
    "mAP@k" and "Rank-r" for k and r up to the rows that count for every query; "mAP", "mINP", "metric" and the accept
    rates need the whole gallery and are absent. `score_features` gives every score without a matrix.

    Args:
        ranking_or_distances: a ranking, or float distances (Q, G), where equal ones stand in order of their rows.
        query_ids: Q ids, words or integers. A query whose id the gallery lacks is left out of the scores and counted.
        gallery_ids: G ids.
        query_cameras: Q integers, or None: unknown. Rows with the query's id and camera do not count.
        gallery_cameras: G integers, or None.
        own_rows: for each query the row that is the very same drawing, -1 for none; it does not count.
        top_k: the k of mAP@k.
        roc: also give the accept rates, over all pairs that count, those of queries without a match included.

    Returns:
        "mAP", "mAP@{top_k}", "Rank-1", "Rank-5", "Rank-10" (defined also for a smaller gallery), "mINP", "metric"
        (mean of mAP and Rank-1) and, with `roc`, "TPR@FPR=1e-04", "1e-03" and "1e-02", all x100; "num_queries" (all)
        and "num_without_match" are counts.

    Raises:
        InputError: lengths that do not fit, ids of two kinds, a ranking of rows the gallery does not have, `roc` of a
            short ranking, no query with a match.
        NumbersError: a distance is NaN.
    """
    truth = Truth(
        query_ids, gallery_ids, query_cameras=query_cameras, gallery_cameras=gallery_cameras, own_rows=own_rows
    )
    if isinstance(ranking_or_distances, Ranking):
        return score_ranking(ranking_or_distances, truth, top_k=top_k, roc=roc)
    distances = torch.as_tensor(ranking_or_distances)
    if distances.shape != (truth.num_queries, truth.num_gallery) or not distances.is_floating_point():
        raise InputError(
            f"distances of {truth.num_queries} queries to {truth.num_gallery} drawings are floats "
            f"({truth.num_queries}, {truth.num_gallery}), not {distances.dtype} {tuple(distances.shape)}"
        )
    return score_blocks([(torch.arange(truth.num_queries), distances)], truth, top_k=top_k, roc=roc)


def score_features(
    queries: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    truth: Truth,
    *,
    metric: str = "cosine",
    top_k: int = 10,
    roc: bool = False,
    memory_mb: int = 1024,
) -> dict[str, float]:
    """Every score of the exact ranking of the whole gallery by features, some queries at a time: Q x G is never held.

    The same numbers as `score(nearest(queries, gallery, len(gallery)), ...)`; arguments and refusals as there.
    """
    space = open_space(queries, gallery, metric)
    if (len(space.queries), len(space.gallery)) != (truth.num_queries, truth.num_gallery):
        raise InputError(
            f"{len(space.queries)} queries and {len(space.gallery)} gallery rows have "
            f"{truth.num_queries} and {truth.num_gallery} ids; give one id a row"
        )
    return score_blocks(distance_blocks(space, memory_mb=memory_mb), truth, top_k=top_k, roc=roc)


def score_names(*, top_k: int = 10, roc: bool = False) -> tuple[str, ...]:
    """The scores, without counts, that a whole ranking gives; by one of them the best model is chosen."""
    accept = tuple(f"TPR@FPR={rate:.0e}" for rate in FALSE_ACCEPT_RATES) if roc else ()
    return ("mAP", f"mAP@{top_k}", *(f"Rank-{r}" for r in RANKS), "mINP", "metric", *accept)


def score_blocks(
    blocks: Iterable[tuple[Tensor, Tensor]], truth: Truth, *, top_k: int = 10, roc: bool = False
) -> dict[str, float]:
    """`score` of distances that come some queries at a time: rows int64 (B,) and float distances (B, G)."""
    check_count("top_k", top_k)
    tally = _Tally(truth.num_queries, top_k)
    rates = _open_rates(truth) if roc else None
    ranker = choose_ranker()
    for rows, distances in blocks:
        values = distances.detach().to("cpu", torch.float32).contiguous().numpy()
        if np.isnan(values).any():
            raise NumbersError("distances hold NaN; check the features they come from")
        for query, mine in zip(rows.tolist(), values):
            matches, dropped = truth.of(query)
            places = ranker(mine, np.concatenate([matches, dropped]))
            tally.add(query, np.sort(places[: len(matches)]), np.sort(places[len(matches) :]), len(matches))
            if rates is not None:
                rates.add(mine[matches], np.delete(mine, np.concatenate([matches, dropped])))
    return tally.scores() | (rates.rates() if rates is not None else {})


def score_ranking(ranking: Ranking, truth: Truth, *, top_k: int = 10, roc: bool = False) -> dict[str, float]:
    """`score` of a ranking whose truth is known."""
    check_count("top_k", top_k)
    rows = ranking.indices.cpu().numpy()
    if len(rows) != truth.num_queries:
        raise InputError(
            f"a ranking of {len(rows)} queries was given {truth.num_queries} query ids; give one id a query"
        )
    if rows.size and not (rows.min() >= 0 and rows.max() < truth.num_gallery):
        raise InputError(f"a ranking holds row {rows.max()}, but the gallery has {truth.num_gallery} ids")
    whole = rows.shape[1] == truth.num_gallery
    if roc:
        if not whole:
            raise InputError(
                f"accept rates need all {truth.num_gallery} columns, not {rows.shape[1]}; score the features"
            )
        distances = torch.empty_like(ranking.distances).scatter_(1, ranking.indices, ranking.distances)
        return score_blocks([(torch.arange(len(rows)), distances)], truth, top_k=top_k, roc=True)
    tally = _Tally(truth.num_queries, top_k)
    for query, mine in enumerate(rows):
        matches, dropped = truth.of(query)
        gone = np.flatnonzero(np.isin(mine, dropped)) + 1
        depth = None if whole else len(mine) - len(gone)
        tally.add(query, np.flatnonzero(np.isin(mine, matches)) + 1, gone, len(matches), depth=depth)
    return tally.scores()


def _open_rates(truth: Truth) -> AcceptRates:
    not_wrong = sum(len(rows) for query in range(truth.num_queries) for rows in truth.of(query))
    return AcceptRates(truth.num_queries * truth.num_gallery - not_wrong)


class _Tally:
    """What each query got; NaN for one that has no match."""

    def __init__(self, num_queries: int, top_k: int):
        self.top_k = top_k
        self.precision, self.precision_at_k, self.inverse_penalty, self.first = np.full((4, num_queries), np.nan)
        self.depth = np.inf  # of the shallowest ranking, counted in rows that count

    def add(
        self, query: int, places: np.ndarray, gone: np.ndarray, num_matches: int, *, depth: int | None = None
    ) -> None:
        """Take in a query: the places of its matches and of the rows that do not count, ascending, from 1."""
        if num_matches == 0:
            return
        places = places - gone.searchsorted(places)
        shares = np.arange(1, len(places) + 1) / places
        self.precision[query] = shares.sum() / num_matches
        self.precision_at_k[query] = shares[places <= self.top_k].sum() / min(num_matches, self.top_k)
        self.inverse_penalty[query] = num_matches / places[-1] if len(places) else 0
        self.first[query] = places[0] if len(places) else np.inf
        self.depth = min(self.depth, np.inf if depth is None else depth)

    def scores(self) -> dict[str, float]:
        counted = ~np.isnan(self.first)
        if not counted.any():
            raise InputError(f"none of {len(counted)} queries has a match in the gallery; check the ids of both lists")

        def mean(values: np.ndarray) -> float:
            return 100 * float(values[counted].mean())

        ranks = {f"Rank-{r}": mean(self.first <= r) for r in RANKS if r <= self.depth}
        at_k = {f"mAP@{self.top_k}": mean(self.precision_at_k)} if self.top_k <= self.depth else {}
        scores = at_k | ranks
        if self.depth == np.inf:
            average = mean(self.precision)
            scores = {"mAP": average} | scores | {"mINP": mean(self.inverse_penalty)}
            scores["metric"] = (average + ranks["Rank-1"]) / 2
        return scores | {"num_queries": len(counted), "num_without_match": int((~counted).sum())}
