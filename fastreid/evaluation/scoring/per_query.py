"""What every query got: its scores from the places of its matches, and the means over queries.

With a query's matches at places p_1 < ... < p_m (from 1, rows that do not count taken out; see `Truth`),

    AP      = mean over i of i / p_i
    AP@k    = sum of i / p_i over p_i <= k, divided by min(m, k), by m, or by the matches among the first k
    INP     = m / p_m                                     (Ye et al., Deep Learning for Person Re-identification, 2021)
    Rank-r  : whether p_1 <= r
    P@k     = matches among the first k, divided by k;    R@k: divided by m;    R-precision: P@m
    DCG     = sum of 1 / log2(1 + p_i);   nDCG: divided by that of the places 1 .. m;   nDCG@k: both up to place k
    patent/ : the same of a ranking of patents, in which one is right: AP = 1 / place, Rank-r: whether place <= r

and the scores are their means over the queries that have a match, x100.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastreid.evaluation.features import check_count
from fastreid.evaluation.scoring.bootstrap import Intervals, percentile_intervals
from fastreid.evaluation.scoring.patent_ranks import PATENT_DISTANCES
from fastreid.utils.errors import InputError

RANKS = (1, 5, 10)
NORMALISERS = ("min", "relevant", "found")


@dataclass(frozen=True)
class ScoreSettings:
    """The choices of scoring, refused when they are made and not hours later.

    Args:
        top_k: the k of mAP@k, P@k, R@k and nDCG@k.
        roc: also give the accept rates, over all pairs that count, those of queries without a match included.
        normaliser: what mAP@k divides by: "min" of matches and k; "relevant": the matches; "found": the matches among
            the first k, and 0 where none is there.
        patent_distance: how near a patent is: "best", as its nearest drawing, or "mean", as all of them in the mean.
    """

    top_k: int = 10
    roc: bool = False
    normaliser: str = "min"
    patent_distance: str = "best"

    def __post_init__(self) -> None:
        check_count("top_k", self.top_k)
        for name, key, known in (
            ("normaliser", "NORMALIZER", NORMALISERS),
            ("patent_distance", "PATENT_DISTANCE", tuple(PATENT_DISTANCES)),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} (TEST.SCORE.{key}) is {' or '.join(known)}, not {getattr(self, name)!r}")


@dataclass(frozen=True)
class QueryScores:
    """The scores of every query, in the order of the queries.

    Args:
        values: for each score float64 (Q,), x100; NaN for a query without a match.
        patents: int64 (Q,), equal where queries show one patent.
        num_matches: int64 (Q,), drawings of the gallery that are right.
        first_places: float64 (Q,), the place of the first match, from 1; NaN for a query without a match, Inf where a
            short ranking does not reach it.
        accept_rates: over all pairs, x100; empty where they were not asked for.

    Raises:
        InputError: no query has a match.
    """

    values: Mapping[str, np.ndarray]
    patents: np.ndarray
    num_matches: np.ndarray
    first_places: np.ndarray
    accept_rates: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.counted.any():
            raise InputError(
                f"none of {len(self.patents)} queries has a match in the gallery; check the ids of both lists"
            )

    @property
    def counted(self) -> np.ndarray:
        """Which queries have a match, and so count: truth values (Q,)."""
        return self.num_matches > 0

    def means(self) -> dict[str, float]:
        """The scores x100, and the counts "num_queries" (all) and "num_without_match"."""
        scores = {name: float(values[self.counted].mean()) for name, values in self.values.items()}
        counts = {"num_queries": len(self.patents), "num_without_match": int((~self.counted).sum())}
        return scores | dict(self.accept_rates) | counts

    def intervals(self, level: float = 0.95, *, num_draws: int = 1000, seed: int = 0) -> Intervals:
        """Between which two numbers each score lies, x100, when the test's patents are drawn anew.

        `percentile_intervals` tells how. Accept rates are not means over queries and have no interval.

        Raises:
            InputError: a level that is no share between 0 and 1, or no draws.
        """
        return self._bootstrap(self.values, level=level, num_draws=num_draws, seed=seed)

    def difference(
        self, other: "QueryScores", *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
    ) -> Intervals:
        """Between which two numbers lies by how much each score is higher than the other run's of the same queries.

        Both are worked out on the same draws of patents, so that what makes a patent hard for both falls out. An
        interval without 0 is a gain, or a loss, beyond chance.

        Returns:
            (low, high) in points for each score that both have.

        Raises:
            InputError: scores of other queries or another gallery; and as `intervals`.
        """
        self.check_same_test(other)
        values = {name: mine - other.values[name] for name, mine in self.values.items() if name in other.values}
        return self._bootstrap(values, level=level, num_draws=num_draws, seed=seed)

    def check_same_test(self, other: "QueryScores") -> None:
        """Refuse the scores of other queries or of another gallery."""
        same = (np.array_equal(getattr(self, name), getattr(other, name)) for name in ("patents", "num_matches"))
        if not all(same):
            raise InputError("scores of other queries or another gallery do not compare; score both runs on one test")

    def _bootstrap(self, values: Mapping[str, np.ndarray], *, level: float, num_draws: int, seed: int) -> Intervals:
        counted = {name: column[self.counted] for name, column in values.items()}
        patents = self.patents[self.counted]
        return percentile_intervals(counted, patents, level=level, num_draws=num_draws, seed=seed)


def scores_of_places(places: np.ndarray, num_matches: np.ndarray, settings: ScoreSettings) -> dict[str, np.ndarray]:
    """The scores of drawings of some queries; formulas at the top of this file.

    Args:
        places: (B, M), of each query's matches in rising order, filled up with Inf.
        num_matches: int64 (B,), of each query; more than places where some lie beyond a short ranking.

    Returns:
        For each score float64 (B,), x100; NaN for a query without a match.
    """
    k, num = settings.top_k, np.maximum(num_matches, 1)[:, None]
    places = np.concatenate([places, np.full((len(places), 1), np.inf)], axis=1)
    shares, gains = np.arange(1, places.shape[1] + 1) / places, 1 / np.log2(1 + places)
    hits = (places <= k).sum(axis=1, keepdims=True)
    ideal = np.cumsum(1 / np.log2(1 + np.arange(1, num.max(initial=1) + 1)))
    last = np.take_along_axis(places, np.minimum(num, places.shape[1]) - 1, axis=1)
    divisor = {"min": np.minimum(num, k), "relevant": num, "found": np.maximum(hits, 1)}[settings.normaliser]
    ranks = {f"Rank-{r}": places[:, :1] <= r for r in RANKS}
    scores = {
        "mAP": _sum(shares) / num,
        f"mAP@{k}": _sum(np.where(places <= k, shares, 0)) / divisor,
        **ranks,
        "mINP": num / last,
        "metric": (_sum(shares) / num + ranks["Rank-1"]) / 2,
        f"P@{k}": hits / k,
        f"R@{k}": hits / num,
        "R-precision": (places <= num).sum(axis=1, keepdims=True) / num,
        "nDCG": _sum(gains) / ideal[num - 1],
        f"nDCG@{k}": _sum(np.where(places <= k, gains, 0)) / ideal[np.minimum(num, k) - 1],
    }
    return {name: np.where(num_matches > 0, 100 * values[:, 0], np.nan) for name, values in scores.items()}


def scores_of_patents(places: np.ndarray, num_matches: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of patents of some queries, from the places (B,) of the right one; NaN without a match, x100."""
    scores = {"patent/mAP": 1 / places, **{f"patent/Rank-{r}": places <= r for r in RANKS}}
    return {name: np.where(num_matches > 0, 100 * values, np.nan) for name, values in scores.items()}


def _sum(values: np.ndarray) -> np.ndarray:
    """Sums of rows (B, 1), from left to right, so that they do not depend on how far the rows are filled up."""
    return values.cumsum(axis=1)[:, -1:]
