"""Tuning of post-processing on labeled features: try the steps one after the other, with each choice of a grid."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.features import Features
from fastreid.evaluation.pipeline import FEATURES, RetrievalState, Step, StepInputs, check_steps
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures, iter_local_distances
from fastreid.evaluation.postprocess.negatives import NegativeSettings
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, iter_expansions
from fastreid.evaluation.postprocess.rerank import KReciprocalDistances
from fastreid.evaluation.postprocess.superglobal import iter_super_globals
from fastreid.evaluation.postprocess.tuning_grid import Grid, Reranking, Trial
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.evaluation.scoring.metrics import check_score_name
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.scoring.score_queries import score_distance_blocks
from fastreid.evaluation.search.distance_source import DistanceSource
from fastreid.evaluation.steps import Rerank, RerankLocal, RerankSuperGlobal, SubtractNegatives
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class _TunedFeatures:
    """The retrieval state after the tuned steps on features, and their settings.

    Args:
        state: the state.
        negatives: settings of the subtraction of negatives; None: no subtraction.
        expansion: settings of the expansion; None: no expansion.
    """

    state: RetrievalState
    negatives: NegativeSettings | None = None
    expansion: ExpansionSettings | None = None


class _TrialRunner:
    """Runs trials; the first one is plain search.

    Args:
        scoring: settings of the scores.
        truth: ground truth.
        grid: see `tune`, as the following.
        select_by: see `tune`.
        num_resamples: see `tune`.
        on_trial: see `tune`.
    """

    def __init__(
        self,
        scoring: ScoreSettings,
        truth: GroundTruth,
        grid: Grid,
        *,
        select_by: str,
        num_resamples: int,
        on_trial: Callable[[Trial, int, int], None] | None,
    ):
        self.scoring, self.truth, self.max_trials = scoring, truth, _max_trials(grid)
        self.select_by, self.num_resamples, self.on_trial = select_by, num_resamples, on_trial
        self.trials: list[Trial] = []

    def run(self, source: DistanceSource, features: _TunedFeatures, reranking: Reranking | None = None) -> float:
        """Score distances that were computed from features, and return the selected score."""
        scores = score_distance_blocks(source.blocks(), self.truth, self.scoring)
        gain: tuple[float, float] | None = None
        if self.num_resamples and len(set(scores.patents[scores.has_match])) > 1:
            plain_scores = self.trials[0].scores if self.trials else scores
            gain = scores.difference(plain_scores, num_resamples=self.num_resamples)[self.select_by]
        value = scores.means()[self.select_by]
        self.trials.append(Trial(features.expansion, reranking, scores, value, gain, features.negatives))
        if self.on_trial is not None:
            self.on_trial(self.trials[-1], len(self.trials), self.max_trials)
        return value

    def find_best(self, best: _TunedFeatures, candidates: Iterable[_TunedFeatures]) -> _TunedFeatures:
        """Run a trial of all candidates, and return the best features: `best` unless a candidate beats all trials."""
        for features in candidates:
            best_value = max(trial.value for trial in self.trials)
            if self.run(features.state.source, features) > best_value:
                best = features
        return best


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
    local: Callable[[], LocalFeatures] | None = None,
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> list[Trial]:
    """Try plain search, then every subtraction of negatives, every expansion, and every re-ranking.

    Expansions are tried after plain search and after the best subtraction, re-rankings after plain search and after the
    best features so far. The number of trials therefore grows with the sum of the choices, not with their product. All
    expansions share one search, all k-reciprocal re-rankings that differ only in lambda_value share their neighbors,
    and so do all SuperGlobal re-rankings.

    Args:
        evaluator: search, scores, and steps that are applied before every trial.
        queries: features of the queries, with patents.
        gallery: features of the gallery, with patents.
        grid: the choices to try.
        select_by: name of the score to select by. A gain needs scores of each query, so TPR@FPR is not supported.
        num_resamples: bootstrap samples for the gains; 0: no gains.
        training: returns the features of the training drawings, for a step that learns from them.
        model: sha256 of the weights that computed the features; "" if unknown.
        local: returns the local features of both, for a step that compares them.
        on_trial: called after each trial with the trial, its 1-based index and the maximum number of trials.

    Returns:
        The trials, best first; of equal ones, the one that was tried first, which is the simplest.

    Raises:
        InputError: the patents are unknown, or `check_grid` fails.
    """
    has_training, has_local = training is not None, local is not None
    check_grid(evaluator, grid, select_by=select_by, has_training=has_training, has_local=has_local)
    state, truth = evaluator.prepare(queries, gallery, training=training, model=model, local=local)
    if truth is None:
        raise InputError("the patents of these features are unknown, but tuning needs them; use labeled features")
    for step in evaluator.steps:
        state = step(state)
    runner = _TrialRunner(
        evaluator.scoring, truth, grid, select_by=select_by, num_resamples=num_resamples, on_trial=on_trial
    )
    plain = _TunedFeatures(state)
    runner.run(state.source, plain)
    best = runner.find_best(plain, _iter_subtracted(plain, grid.negatives()))
    for features in _without_repeats(plain, best):
        best = runner.find_best(best, _iter_expanded(features, grid.expansions()))
    for features in _without_repeats(plain, best):
        for source, reranking in _iter_reranked(features.state, grid):
            runner.run(source, features, reranking)
    return sorted(runner.trials, key=lambda trial: -trial.value)


def check_grid(
    evaluator: Evaluator, grid: Grid, *, select_by: str, has_training: bool = True, has_local: bool = True
) -> None:
    """Check that the grid can be tried with this evaluator, before any work.

    Args:
        evaluator: see `tune`.
        grid: see `tune`.
        select_by: see `tune`.
        has_training: whether there are features of training drawings, or it is unknown.
        has_local: whether there are local features, or it is unknown.

    Raises:
        InputError: an unknown score, or steps that are incompatible with each other, with the evaluator or with missing
            training features.
    """
    check_score_name(select_by, top_k=evaluator.scoring.top_k, recalls=evaluator.scoring.recalls)
    for step in evaluator.steps:
        if step.works_on != FEATURES:
            raise InputError(
                f"'{step.name}' works on {step.works_on}, so no step can be tuned after it; disable it for tuning"
            )
    reasons = find_unusable_steps(evaluator, grid, has_training=has_training, has_local=has_local)
    for name, reason in reasons.items():
        raise InputError(f"{reason}; or leave {name} out of --steps")


def find_unusable_steps(
    evaluator: Evaluator, grid: Grid, *, has_training: bool = True, has_local: bool = True
) -> dict[str, str]:
    """Return the steps of a grid that cannot be tried with this evaluator, and why.

    Args:
        evaluator: see `tune`.
        grid: see `tune`.
        has_training: see `check_grid`.
        has_local: see `check_grid`.
    """
    num_training = 0 if has_training else None
    inputs = StepInputs(evaluator.space_class, evaluator.scoring, num_training=num_training, has_local=has_local)
    tried: dict[str, list[Step]] = {
        "NEGATIVE": [*map(SubtractNegatives, grid.negatives())],
        "RERANK": [*map(Rerank, grid.k_reciprocals())],
        "SUPERGLOBAL": [*map(RerankSuperGlobal, grid.super_globals())],
        "LOCAL": [*map(RerankLocal, grid.local_rerankings())],
    }
    reasons = {}
    for name, steps in tried.items():
        try:
            for step in steps:
                step.check(inputs)
                check_steps([*evaluator.steps, step], space=evaluator.space_class, scoring=evaluator.scoring)
        except InputError as error:
            reasons[name] = str(error)
    return reasons


def _max_trials(grid: Grid) -> int:
    num_negatives = len(grid.negatives())
    num_rerankings = len(grid.k_reciprocals()) + len(grid.super_globals()) + len(grid.local_rerankings())
    return 1 + num_negatives + len(grid.expansions()) * (2 if num_negatives else 1) + 2 * num_rerankings


def _without_repeats(plain: _TunedFeatures, best: _TunedFeatures) -> tuple[_TunedFeatures, ...]:
    return (plain,) if best is plain else (plain, best)


def _iter_subtracted(features: _TunedFeatures, settings: Sequence[NegativeSettings]) -> Iterator[_TunedFeatures]:
    """Yield the features after each subtraction of negatives."""
    return (replace(features, state=SubtractNegatives(one)(features.state), negatives=one) for one in settings)


def _iter_expanded(features: _TunedFeatures, settings: Sequence[ExpansionSettings]) -> Iterator[_TunedFeatures]:
    """Yield the features after each expansion."""
    state = features.state
    sides = iter_expansions(
        state.space.queries,
        state.space.gallery,
        settings,
        memory_mb=state.search.memory_mb,
        precision=state.search.precision,
    )
    for choice, expanded in zip(settings, sides):
        yield replace(features, state=state.with_features(*expanded), expansion=choice)


def _iter_reranked(state: RetrievalState, grid: Grid) -> Iterator[tuple[DistanceSource, Reranking]]:
    """Yield re-ranked distances and their settings; choices that differ only in lambda_value share their neighbors."""
    memory_mb, precision = state.search.memory_mb, state.search.precision
    for _, choices in groupby(grid.k_reciprocals(), key=lambda choice: replace(choice, lambda_value=0)):
        source: KReciprocalDistances | None = None
        for choice in choices:
            if source is None:
                source = KReciprocalDistances(state.space, choice, memory_mb=memory_mb, precision=precision)
            yield source.with_lambda(choice.lambda_value), choice
    super_globals = grid.super_globals()
    yield from zip(
        iter_super_globals(state.space, super_globals, memory_mb=memory_mb, precision=precision), super_globals
    )
    choices_of_local = grid.local_rerankings()
    if choices_of_local and state.local is not None:
        local = state.local()
        sources = iter_local_distances(state.space, local, choices_of_local, memory_mb=memory_mb, precision=precision)
        yield from zip(sources, choices_of_local)
