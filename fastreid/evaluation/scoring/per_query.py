"""Scores of each query from the ranks of its matches, and their means over queries.

For a query whose matches have the ranks p_1 < ... < p_m (1-based, ignored rows removed; see `GroundTruth`):

    AP      = mean over i of i / p_i
    AP@k    = sum of i / p_i over p_i <= k, divided by min(m, k), by m, or by the number of matches among the first k
    INP     = m / p_m                                     (Ye et al., Deep Learning for Person Re-identification, 2021)
    Rank-r  = 1 if p_1 <= r, else 0;    Recall@K = the same for K of `recalls`, by its name in metric learning
    P@k     = matches among the first k / k;    R@k = matches among the first k / m;    R-precision = P@m
    MAP@R   = sum of i / p_i over p_i <= m, divided by m            (Musgrave et al., A Metric Learning Reality Check)
    DCG     = sum of 1 / log2(1 + p_i);   nDCG = DCG / DCG of the ranks 1 .. m;   nDCG@k: both cut at rank k
    patent/ : the same for a ranking of patents, with one correct patent: AP = 1 / rank, Rank-r = 1 if rank <= r

Scores are means over the queries that have a match, x100.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid.evaluation.features import check_count
from fastreid.evaluation.scoring.bootstrap import Intervals, percentile_intervals
from fastreid.evaluation.scoring.patent_ranks import PATENT_DISTANCES
from fastreid.utils.errors import InputError

RANKS = (1, 5, 10)
NORMALIZERS = ("min", "relevant", "found")


@dataclass(frozen=True)
class ScoreSettings:
    """Scoring options, validated on creation.

    Args:
        top_k: the k of mAP@k, P@k, R@k and nDCG@k.
        roc: also compute the true positive rates at fixed false positive rates, over all pairs that are not ignored,
            including those of queries without a match.
        normalizer: divisor of AP@k: "min": the smaller of the number of matches and k; "relevant": the number of
            matches; "found": the number of matches among the first k, with AP@k 0 if there is none.
        patent_distance: distance of a patent: "best", that of its nearest drawing, or "mean", the mean of its drawings.
        recalls: the K of Recall@K.

    Raises:
        InputError: a value is not allowed.
    """

    top_k: int = 10
    roc: bool = False
    normalizer: str = "min"
    patent_distance: str = "best"
    recalls: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_count("top_k", self.top_k)
        for k in self.recalls:
            check_count("recalls (TEST.RECALLS)", k)
        for name, key, allowed in (
            ("normalizer", "NORMALIZER", NORMALIZERS),
            ("patent_distance", "PATENT_DISTANCE", tuple(PATENT_DISTANCES)),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} (TEST.SCORE.{key}) must be {' or '.join(allowed)}, not {getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class QueryScores:
    """Scores of each query, in query order.

    Args:
        values: score name -> float64 (Q,), x100; NaN for a query without a match.
        patents: int64 (Q,), equal for queries of the same patent.
        num_matches: int64 (Q,), number of relevant gallery drawings.
        first_ranks: float64 (Q,), 1-based rank of the first match; NaN for a query without a match, Inf if a short
            ranking does not contain it.
        tpr_at_fpr: true positive rates over all pairs, x100; empty if not requested.

    Raises:
        InputError: no query has a match.
    """

    values: Mapping[str, NDArray[np.float64]]
    patents: NDArray[np.int64]
    num_matches: NDArray[np.int64]
    first_ranks: NDArray[np.float64]
    tpr_at_fpr: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.has_match.any():
            raise InputError(
                f"none of {len(self.patents)} queries has a match in the gallery; check the ids of both lists"
            )

    @property
    def has_match(self) -> NDArray[np.bool_]:
        """Which queries have a match and are included in the means: bool (Q,)."""
        return self.num_matches > 0

    def means(self) -> dict[str, float]:
        """Return the mean scores, x100, and the counts "num_queries" (all) and "num_without_match"."""
        scores = {name: float(values[self.has_match].mean()) for name, values in self.values.items()}
        counts = {"num_queries": len(self.patents), "num_without_match": int((~self.has_match).sum())}
        return scores | dict(self.tpr_at_fpr) | counts

    def intervals(self, level: float = 0.95, *, num_resamples: int = 1000, seed: int = 0) -> Intervals:
        """Return a bootstrap confidence interval of each mean score, x100, resampling patents.

        See `percentile_intervals`. The true positive rates are not means over queries and have no interval.

        Args:
            level: confidence level, between 0 and 1.
            num_resamples: number of bootstrap resamples.
            seed: seed of the resamples.

        Raises:
            InputError: the level is not between 0 and 1, or there are no resamples.
        """
        return self._bootstrap(self.values, level=level, num_resamples=num_resamples, seed=seed)

    def difference(
        self, other: "QueryScores", *, level: float = 0.95, num_resamples: int = 1000, seed: int = 0
    ) -> Intervals:
        """Return a bootstrap confidence interval of the score differences (self - other) on the same queries.

        Both runs are evaluated on the same resamples, so effects that make a patent hard for both cancel out. An
        interval that excludes 0 is a significant difference.

        Args:
            other: scores of the other run.
            level: confidence level, between 0 and 1.
            num_resamples: number of bootstrap resamples.
            seed: seed of the resamples.

        Returns:
            (low, high), in points, for each score that both have.

        Raises:
            InputError: the scores are of other queries or another gallery; and as in `intervals`.
        """
        self.check_same_test(other)
        values = {name: scores - other.values[name] for name, scores in self.values.items() if name in other.values}
        return self._bootstrap(values, level=level, num_resamples=num_resamples, seed=seed)

    def check_same_test(self, other: "QueryScores") -> None:
        """Raise an `InputError` if the other scores are of other queries or another gallery."""
        same = (np.array_equal(getattr(self, name), getattr(other, name)) for name in ("patents", "num_matches"))
        if not all(same):
            raise InputError(
                "scores of different queries or galleries cannot be compared; evaluate both runs on one test set"
            )

    def _bootstrap(
        self, values: Mapping[str, NDArray[np.float64]], *, level: float, num_resamples: int, seed: int
    ) -> Intervals:
        values = {name: column[self.has_match] for name, column in values.items()}
        patents = self.patents[self.has_match]
        return percentile_intervals(values, patents, level=level, num_resamples=num_resamples, seed=seed)


def compute_drawing_scores(
    ranks: NDArray[Any], num_matches: NDArray[np.int64], settings: ScoreSettings
) -> dict[str, NDArray[np.float64]]:
    """Return the scores of drawings for a batch of queries; the formulas are at the top of this module.

    Args:
        ranks: (B, M), 1-based ranks of each query's matches, ascending, padded with Inf.
        num_matches: int64 (B,); more than the finite ranks if a short ranking does not contain all matches.

    Returns:
        Score name -> float64 (B,), x100; NaN for a query without a match.
    """
    k, num = settings.top_k, np.maximum(num_matches, 1)[:, None]
    ranks = np.concatenate([ranks, np.full((len(ranks), 1), np.inf)], axis=1)
    precisions, gains = np.arange(1, ranks.shape[1] + 1) / ranks, 1 / np.log2(1 + ranks)
    hits = (ranks <= k).sum(axis=1, keepdims=True)
    ideal = np.cumsum(1 / np.log2(1 + np.arange(1, num.max(initial=1) + 1)))
    last = np.take_along_axis(ranks, np.minimum(num, ranks.shape[1]) - 1, axis=1)
    divisor = {"min": np.minimum(num, k), "relevant": num, "found": np.maximum(hits, 1)}[settings.normalizer]
    rank_scores = {f"Rank-{r}": ranks[:, :1] <= r for r in RANKS}
    scores: dict[str, NDArray[Any]] = {
        "mAP": _sum_rows(precisions) / num,
        f"mAP@{k}": _sum_rows(np.where(ranks <= k, precisions, 0)) / divisor,
        **rank_scores,
        **{f"Recall@{k}": ranks[:, :1] <= k for k in settings.recalls},
        "mINP": num / last,
        "metric": (_sum_rows(precisions) / num + rank_scores["Rank-1"]) / 2,
        f"P@{k}": hits / k,
        f"R@{k}": hits / num,
        "R-precision": (ranks <= num).sum(axis=1, keepdims=True) / num,
        "MAP@R": _sum_rows(np.where(ranks <= num, precisions, 0)) / num,
        "nDCG": _sum_rows(gains) / ideal[num - 1],
        f"nDCG@{k}": _sum_rows(np.where(ranks <= k, gains, 0)) / ideal[np.minimum(num, k) - 1],
    }
    return {name: np.where(num_matches > 0, 100 * values[:, 0], np.nan) for name, values in scores.items()}


def compute_patent_scores(ranks: NDArray[Any], num_matches: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of patents, x100, from the ranks (B,) of the correct ones; NaN for a query without a match."""
    scores = {"patent/mAP": 1 / ranks, **{f"patent/Rank-{r}": ranks <= r for r in RANKS}}
    return {name: np.where(num_matches > 0, 100 * values, np.nan) for name, values in scores.items()}


def _sum_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return row sums (B, 1), added from left to right, so that they do not depend on the amount of padding."""
    return values.cumsum(axis=1)[:, -1:]
