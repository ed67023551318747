"""Tuning of post-processing on labeled features: try query expansion, then re-ranking, with each choice of a grid."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.features import Features
from fastreid.evaluation.pipeline import FEATURES, Rerank, RetrievalState, check_steps
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, iter_expansions
from fastreid.evaluation.postprocess.rerank import KReciprocalDistances, RerankSettings
from fastreid.evaluation.scoring.metrics import check_score_name
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.evaluation.scoring.score_queries import score_distance_blocks
from fastreid.evaluation.search.distance_source import DistanceSource
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError, suggest_and_list

TUNABLE_STEPS = ("AQE", "RERANK")  # their names in TEST.STEPS
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

    def __post_init__(self) -> None:
        _check_names("step to tune", self.steps, TUNABLE_STEPS)
        _check_names("side to expand", self.sides, tuple(SIDES))
        if not self.steps:
            raise InputError(f"no step to tune; name at least one of {', '.join(TUNABLE_STEPS)}")
        for name in ("expansion_k", "expansion_alpha", "sides", "k1", "k2", "lambda_value"):
            if not getattr(self, name):
                raise InputError(f"{name} is empty; give at least one value")
        self._expansions(), self._rerankings()  # raise for invalid values
        if min(self.k1) < min(self.k2) or max(self.k1) < max(self.k2):
            raise InputError(
                f"k2 must be at most k1, so some values of k1 {_join(self.k1)} and k2 {_join(self.k2)} are never used; "
                "remove them"
            )

    def expansions(self) -> list[ExpansionSettings]:
        """Return all expansions to try."""
        return self._expansions() if "AQE" in self.steps else []

    def rerankings(self) -> list[RerankSettings]:
        """Return all re-rankings to try."""
        return self._rerankings() if "RERANK" in self.steps else []

    def _expansions(self) -> list[ExpansionSettings]:
        return [
            ExpansionSettings(k, alpha, times=self.times, queries_too=SIDES[side][0], gallery_too=SIDES[side][1])
            for k, alpha, side in product(self.expansion_k, self.expansion_alpha, self.sides)
        ]

    def _rerankings(self) -> list[RerankSettings]:
        return [
            RerankSettings(k1, k2, lambda_value=weight, form=self.form, top_n=self.top_n)
            for k1, k2, weight in product(self.k1, self.k2, self.lambda_value)
            if k2 <= k1
        ]


@dataclass(frozen=True)
class Trial:
    """One choice and its scores.

    Args:
        expansion: settings of the expansion; None: no expansion.
        reranking: settings of the re-ranking; None: no re-ranking.
        scores: of each query.
        value: the selected score, x100.
        gain: 95 % confidence interval of the gain over plain search, in points; None if it was not requested or all
            queries belong to one patent.
    """

    expansion: ExpansionSettings | None
    reranking: RerankSettings | None
    scores: QueryScores
    value: float
    gain: tuple[float, float] | None

    def format_gain(self) -> str:
        """Return the gain as text that continues a sentence; "" if it is unknown."""
        if self.gain is None:
            return ""
        return f", {self.gain[0]:+.2f} to {self.gain[1]:+.2f} over plain search (95 % confidence interval)"

    def __str__(self) -> str:
        parts = []
        if self.expansion is not None:
            sides = next(
                name for name, on in SIDES.items() if on == (self.expansion.queries_too, self.expansion.gallery_too)
            )
            parts.append(f"expansion of {sides}, k {self.expansion.k}, alpha {self.expansion.alpha:g}")
        if self.reranking is not None:
            choice = self.reranking
            parts.append(f"re-ranking k1 {choice.k1}, k2 {choice.k2}, lambda {choice.lambda_value:g}")
        return ", ".join(parts) or "plain search"


def tune(
    evaluator: Evaluator,
    queries: Embeddings,
    gallery: Embeddings,
    *,
    grid: Grid,
    select_by: str = "mAP@10",
    num_resamples: int = 1000,
    training: Callable[[], Features] | None = None,
    model: str = "",
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> list[Trial]:
    """Try plain search, every expansion, and every re-ranking after plain search and after the best expansion.

    The number of trials grows with the sum of expansions and re-rankings, not with their product. All expansions share
    one search, and all re-rankings that differ only in lambda_value share their neighbors.

    Args:
        evaluator: search, scores, and steps that are applied before every trial.
        queries: features of the queries, with patents.
        gallery: features of the gallery, with patents.
        grid: the choices to try.
        select_by: name of the score to select by. A gain needs scores of each query, so TPR@FPR is not supported.
        num_resamples: bootstrap samples for the gains; 0: no gains.
        training: returns the features of the training drawings, for a step that learns from them.
        model: sha256 of the weights that computed the features; "" if unknown.
        on_trial: called after each trial with the trial, its 1-based index and the maximum number of trials.

    Returns:
        The trials, best first; of equal ones, the one that was tried first, which is the simplest.

    Raises:
        InputError: the patents are unknown, or `check_grid` fails.
    """
    check_grid(evaluator, grid, select_by=select_by)
    state, truth = evaluator.prepare(queries, gallery, training=training, model=model)
    if truth is None:
        raise InputError("the patents of these features are unknown, but tuning needs them; use labeled features")
    for step in evaluator.steps:
        state = step(state)
    trials: list[Trial] = []
    expansions, rerankings = grid.expansions(), grid.rerankings()
    max_trials = 1 + len(expansions) + 2 * len(rerankings)

    def run_trial(
        source: DistanceSource, expansion: ExpansionSettings | None, reranking: RerankSettings | None
    ) -> None:
        scores = score_distance_blocks(source.blocks(), truth, evaluator.scoring)
        gain: tuple[float, float] | None = None
        if num_resamples and len(set(scores.patents[scores.has_match])) > 1:
            plain_scores = trials[0].scores if trials else scores
            gain = scores.difference(plain_scores, num_resamples=num_resamples)[select_by]
        trials.append(Trial(expansion, reranking, scores, scores.means()[select_by], gain))
        if on_trial is not None:
            on_trial(trials[-1], len(trials), max_trials)

    run_trial(state.source, None, None)
    best: tuple[float, ExpansionSettings | None, RetrievalState] = (trials[0].value, None, state)
    for expansion, expanded in _iter_expanded(state, expansions):
        run_trial(expanded.source, expansion, None)
        if trials[-1].value > best[0]:
            best = (trials[-1].value, expansion, expanded)
    states: dict[ExpansionSettings | None, RetrievalState] = {None: state, best[1]: best[2]}
    for expansion_before, state_before in states.items():
        for source, reranking in _iter_reranked(state_before, rerankings):
            run_trial(source, expansion_before, reranking)
    return sorted(trials, key=lambda trial: -trial.value)


def check_grid(evaluator: Evaluator, grid: Grid, *, select_by: str) -> None:
    """Check that the grid can be tried with this evaluator, before any work.

    Raises:
        InputError: an unknown score, or steps that are incompatible with each other or with the evaluator.
    """
    check_score_name(select_by, top_k=evaluator.scoring.top_k, recalls=evaluator.scoring.recalls)
    for step in evaluator.steps:
        if step.works_on != FEATURES:
            raise InputError(
                f"'{step.name}' works on {step.works_on}, so no step can be tuned after it; disable it for tuning"
            )
    for choice in grid.rerankings():
        check_steps([*evaluator.steps, Rerank(choice)], space=evaluator.space_class, scoring=evaluator.scoring)


def _check_names(kind: str, names: Sequence[str], available: Sequence[str]) -> None:
    unknown = [name for name in names if name not in available]
    if unknown:
        raise InputError(f"{kind} {unknown[0]!r} is unknown.{suggest_and_list(unknown[0], available)}")


def _join(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def _iter_expanded(
    state: RetrievalState, settings: Sequence[ExpansionSettings]
) -> Iterator[tuple[ExpansionSettings, RetrievalState]]:
    """Yield each choice and the state after its expansion."""
    sides = iter_expansions(
        state.space.queries,
        state.space.gallery,
        settings,
        memory_mb=state.search.memory_mb,
        precision=state.search.precision,
    )
    return ((choice, state.with_features(*features)) for choice, features in zip(settings, sides))


def _iter_reranked(
    state: RetrievalState, settings: Sequence[RerankSettings]
) -> Iterator[tuple[DistanceSource, RerankSettings]]:
    """Yield re-ranked distances and their settings; choices that differ only in lambda_value share their neighbors."""
    for _, choices in groupby(settings, key=lambda choice: replace(choice, lambda_value=0)):
        source: KReciprocalDistances | None = None
        for choice in choices:
            if source is None:
                source = KReciprocalDistances(
                    state.space, choice, memory_mb=state.search.memory_mb, precision=state.search.precision
                )
            yield source.with_lambda(choice.lambda_value), choice
