"""The choices that tuning tries, and its trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from fastreid.evaluation.postprocess.local_rerank import LocalSettings
from fastreid.evaluation.postprocess.negatives import NegativeSettings
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings
from fastreid.evaluation.postprocess.rerank import RerankSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalSettings
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError, suggest_and_list

TUNABLE_STEPS = ("NEGATIVE", "AQE", "RERANK", "SUPERGLOBAL", "LOCAL")  # names in TEST.STEPS, in the order of trials
Reranking = RerankSettings | SuperGlobalSettings | LocalSettings
SIDES = {"both": (True, True), "queries": (True, False), "gallery": (False, True)}  # (queries_too, gallery_too)


@dataclass(frozen=True)
class Grid:
    """The choices to try.

    Args:
        steps: names in TUNABLE_STEPS, the steps to tune.
        expansion_k: numbers of drawings to average.
        expansion_alpha: powers of the cosine.
        times: repetitions of every expansion.
        sides: names in SIDES, the features to expand.
        k1: numbers of reciprocal neighbors.
        k2: numbers of averaged neighbors; pairs with k2 above k1 are skipped.
        lambda_value: weights of the original distance.
        form: form of every re-ranking.
        top_n: number of re-ranked drawings; None: all.
        negative_k: numbers of negatives.
        negative_beta: weights of their mean.
        negative_times: repetitions of every subtraction of negatives.
        superglobal_k: numbers of neighbors that refine a drawing.
        superglobal_beta: weights of these neighbors.
        superglobal_top_n: number of drawings that SuperGlobal re-ranks.
        local_weight: weights of the local score.
        local_dim: numbers of components of a local feature.
        local_top_n: number of drawings that are re-ranked with local features.

    Raises:
        InputError: a value is outside its range or would never be tried.
    """

    steps: Sequence[str] = TUNABLE_STEPS
    expansion_k: Sequence[int] = (2, 3, 5, 8)
    expansion_alpha: Sequence[float] = (0.0, 1.0, 3.0)
    times: int = 1
    sides: Sequence[str] = ("both", "queries")
    k1: Sequence[int] = (8, 12, 20)
    k2: Sequence[int] = (1, 3, 6)
    lambda_value: Sequence[float] = (0.1, 0.3, 0.5)
    form: str = "fast-reid"
    top_n: int | None = None
    negative_k: Sequence[int] = (5, 10)
    negative_beta: Sequence[float] = (0.2, 0.35)
    negative_times: int = 3
    superglobal_k: Sequence[int] = (5, 9)
    superglobal_beta: Sequence[float] = (0.15, 0.5)
    superglobal_top_n: int = 400
    local_weight: Sequence[float] = (0.5, 1.0, 2.0)
    local_dim: Sequence[int] = (64,)
    local_top_n: int = 100

    def __post_init__(self) -> None:
        _check_names("step to tune", self.steps, TUNABLE_STEPS)
        _check_names("side to expand", self.sides, tuple(SIDES))
        if not self.steps:
            raise InputError(f"no step to tune; name at least one of {', '.join(TUNABLE_STEPS)}")
        for name, value in vars(self).items():
            if isinstance(value, Sequence) and not isinstance(value, str) and not value:
                raise InputError(f"{name} is empty; give at least one value")
        # These raise for invalid values.
        self._negatives(), self._expansions(), self._k_reciprocals(), self._super_globals(), self._local_rerankings()
        if min(self.k1) < min(self.k2) or max(self.k1) < max(self.k2):
            raise InputError(
                f"k2 must be at most k1, so some values of k1 {_join(self.k1)} and k2 {_join(self.k2)} are never used; "
                "remove them"
            )

    def expansions(self) -> list[ExpansionSettings]:
        """Return all expansions to try."""
        return self._expansions() if "AQE" in self.steps else []

    def negatives(self) -> list[NegativeSettings]:
        """Return all subtractions of negatives to try."""
        return self._negatives() if "NEGATIVE" in self.steps else []

    def k_reciprocals(self) -> list[RerankSettings]:
        """Return all k-reciprocal re-rankings to try."""
        return self._k_reciprocals() if "RERANK" in self.steps else []

    def super_globals(self) -> list[SuperGlobalSettings]:
        """Return all SuperGlobal re-rankings to try."""
        return self._super_globals() if "SUPERGLOBAL" in self.steps else []

    def local_rerankings(self) -> list[LocalSettings]:
        """Return all re-rankings with local features to try."""
        return self._local_rerankings() if "LOCAL" in self.steps else []

    def _negatives(self) -> list[NegativeSettings]:
        return [
            NegativeSettings(k, beta, self.negative_times) for k, beta in product(self.negative_k, self.negative_beta)
        ]

    def _expansions(self) -> list[ExpansionSettings]:
        return [
            ExpansionSettings(k, alpha, times=self.times, queries_too=SIDES[side][0], gallery_too=SIDES[side][1])
            for k, alpha, side in product(self.expansion_k, self.expansion_alpha, self.sides)
        ]

    def _k_reciprocals(self) -> list[RerankSettings]:
        return [
            RerankSettings(k1, k2, lambda_value=weight, form=self.form, top_n=self.top_n)
            for k1, k2, weight in product(self.k1, self.k2, self.lambda_value)
            if k2 <= k1
        ]

    def _super_globals(self) -> list[SuperGlobalSettings]:
        return [
            SuperGlobalSettings(self.superglobal_top_n, k, beta)
            for k, beta in product(self.superglobal_k, self.superglobal_beta)
        ]

    def _local_rerankings(self) -> list[LocalSettings]:
        return [
            LocalSettings(self.local_top_n, weight, dim) for dim, weight in product(self.local_dim, self.local_weight)
        ]


@dataclass(frozen=True)
class Trial:
    """One choice and its scores.

    Args:
        expansion: settings of the expansion; None: no expansion.
        reranking: settings of the re-ranking, k-reciprocal, SuperGlobal or with local features; None: no re-ranking.
        scores: of each query.
        value: the selected score, x100.
        gain: 95 % confidence interval of the gain over plain search, in points; None if it was not requested or all
            queries belong to one patent.
        negatives: settings of the subtraction of negatives, before the expansion; None: no subtraction.
    """

    expansion: ExpansionSettings | None
    reranking: Reranking | None
    scores: QueryScores
    value: float
    gain: tuple[float, float] | None
    negatives: NegativeSettings | None = None

    def format_gain(self) -> str:
        """Return the gain as text that continues a sentence; "" if it is unknown."""
        if self.gain is None:
            return ""
        return f", {self.gain[0]:+.2f} to {self.gain[1]:+.2f} over plain search (95 % confidence interval)"

    def __str__(self) -> str:
        parts = []
        if self.negatives is not None:
            parts.append(f"negatives k {self.negatives.k}, beta {self.negatives.beta:g}")
        if self.expansion is not None:
            sides = next(
                name for name, on in SIDES.items() if on == (self.expansion.queries_too, self.expansion.gallery_too)
            )
            parts.append(f"expansion of {sides}, k {self.expansion.k}, alpha {self.expansion.alpha:g}")
        choice = self.reranking
        if isinstance(choice, SuperGlobalSettings):
            parts.append(f"SuperGlobal k {choice.k}, beta {choice.beta:g}")
        elif isinstance(choice, LocalSettings):
            parts.append(f"local features of {choice.dim} components, weight {choice.weight:g}")
        elif choice is not None:
            parts.append(f"re-ranking k1 {choice.k1}, k2 {choice.k2}, lambda {choice.lambda_value:g}")
        return ", ".join(parts) or "plain search"


def _check_names(kind: str, names: Sequence[str], available: Sequence[str]) -> None:
    unknown = [name for name in names if name not in available]
    if unknown:
        raise InputError(f"{kind} {unknown[0]!r} is unknown.{suggest_and_list(unknown[0], available)}")


def _join(values: Sequence[int]) -> str:
    return ",".join(map(str, values))
