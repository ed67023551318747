"""Which post-processing serves best on features whose patents are known: one step after the other, choice by choice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.features import Features
from fastreid.evaluation.pipeline import FEATURES, Found, Rerank, check_steps
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expansions_of
from fastreid.evaluation.postprocess.rerank import KReciprocal, RerankSettings
from fastreid.evaluation.scoring.metrics import check_score
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.evaluation.scoring.score_queries import judge_blocks
from fastreid.evaluation.search.distance_source import Source
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

STEPS = ("AQE", "RERANK")  # what can be tried, by its name in TEST.STEPS
SIDES = {"both": (True, True), "queries": (True, False), "database": (False, True)}


@dataclass(frozen=True)
class Grid:
    """The choices that are tried, refused when they are made and not hours later.

    Args:
        steps: of STEPS, which are tried.
        expansion_k: drawings averaged.
        expansion_alpha: powers of the cosine.
        times: how often every expansion is done.
        sides: names of SIDES, which features are expanded.
        k1: neighbours that must see each other.
        k2: neighbours averaged; those above a k1 are passed over.
        lambda_value: shares of the first distance.
        form: of every re-ranking.
        top_n: how many every one ranks anew; None: all.
    """

    steps: Sequence[str] = STEPS
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
        for what, names, known in (("step to try", self.steps, STEPS), ("side to expand", self.sides, tuple(SIDES))):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise InputError(f"no {what} is called {unknown[0]!r}; there are {', '.join(known)}")
        if not self.steps:
            raise InputError(f"no step would be tried; name some of {', '.join(STEPS)}")
        for name, choices in (("AQE", self._expansions()), ("RERANK", self._rerankings())):
            if not choices:
                raise InputError(f"nothing of {name} would be tried; give each of its choices a value")
        if min(self.k1) < min(self.k2) or max(self.k1) < max(self.k2):
            raise InputError(
                f"a k2 goes with a k1 from it on, so of {_words(self.k1)} and {_words(self.k2)} not all can"
            )

    def expansions(self) -> list[ExpansionSettings]:
        """Every expansion that is tried."""
        return self._expansions() if "AQE" in self.steps else []

    def rerankings(self) -> list[RerankSettings]:
        """Every re-ranking that is tried."""
        return self._rerankings() if "RERANK" in self.steps else []

    def _expansions(self) -> list[ExpansionSettings]:
        return [
            ExpansionSettings(k, alpha, times=self.times, queries_too=SIDES[side][0], gallery_too=SIDES[side][1])
            for k, alpha, side in product(self.expansion_k, self.expansion_alpha, self.sides)
        ]

    def _rerankings(self) -> list[RerankSettings]:
        return [
            RerankSettings(k1, k2, lambda_value=share, form=self.form, top_n=self.top_n)
            for k1, k2, share in product(self.k1, self.k2, self.lambda_value)
            if k2 <= k1
        ]


@dataclass(frozen=True)
class Trial:
    """One choice that was tried.

    Args:
        expansion: None where nothing was expanded.
        reranking: None where nothing was ranked anew.
        scores: of every query.
        value: the score that counts, x100.
        gain: between which two numbers its gain over plain search lies, with 95 % confidence, in points; None where
            that was not asked for, or all queries are of one patent.
    """

    expansion: ExpansionSettings | None
    reranking: RerankSettings | None
    scores: QueryScores
    value: float
    gain: tuple[float, float] | None

    def told_gain(self) -> str:
        """The gain for a reader; "" where it is not known."""
        return f", {self.gain[0]:+.2f} to {self.gain[1]:+.2f} beside plain search (95 %)" if self.gain else ""

    def __str__(self) -> str:
        words = []
        if self.expansion is not None:
            sides = next(
                name for name, on in SIDES.items() if on == (self.expansion.queries_too, self.expansion.gallery_too)
            )
            words.append(f"expansion of {sides}, k {self.expansion.k}, alpha {self.expansion.alpha:g}")
        if self.reranking is not None:
            choice = self.reranking
            words.append(f"re-ranking k1 {choice.k1}, k2 {choice.k2}, lambda {choice.lambda_value:g}")
        return ", ".join(words) or "plain search"


def tune(
    evaluator: Evaluator,
    queries: Embeddings,
    gallery: Embeddings,
    *,
    grid: Grid,
    select_by: str = "mAP@10",
    num_draws: int = 1000,
    training: Callable[[], Features] | None = None,
    model: str = "",
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> list[Trial]:
    """Try plain search, every expansion, and every re-ranking after plain search and after the best expansion.

    The work is the sum of the grid's halves, not their product; one search serves all expansions, and one set of
    neighbours all shares of the first distance.

    Args:
        evaluator: how to search and to score; its own steps come before all that is tried.
        queries: of the query list, with patents.
        gallery: of the database list, with patents.
        grid: what is tried.
        select_by: the score that counts; a gain needs one of every query, so no accept rate.
        num_draws: of patents, for the gains; 0: no gains.
        training: gives the training drawings' features, for a step that learns from them.
        model: the sha256 of the weights that gave the features, if it is known.
        on_trial: is told each trial, its number from 1, and how many there are at the most.

    Returns:
        The trials, the best first; of equal ones the one tried earlier, which is the simpler one.

    Raises:
        InputError: patents that are not known, or what `check_grid` refuses.
    """
    check_grid(evaluator, grid, select_by=select_by)
    found, truth = evaluator.open(queries, gallery, training=training, model=model)
    if truth is None:
        raise InputError("the patents of these features are not known, so no choice can be told from another")
    for step in evaluator.steps:
        found = step(found)
    trials: list[Trial] = []
    expansions, rerankings = grid.expansions(), grid.rerankings()
    most = 1 + len(expansions) + 2 * len(rerankings)

    def attempt(source: Source, expansion: ExpansionSettings | None, reranking: RerankSettings | None) -> None:
        scores = judge_blocks(source.blocks(), truth, evaluator.scoring)
        gain: tuple[float, float] | None = None
        if num_draws and len(set(scores.patents[scores.counted])) > 1:
            first = trials[0].scores if trials else scores
            gain = scores.difference(first, num_draws=num_draws)[select_by]
        trials.append(Trial(expansion, reranking, scores, scores.means()[select_by], gain))
        if on_trial is not None:
            on_trial(trials[-1], len(trials), most)

    attempt(found.source, None, None)
    best: tuple[float, ExpansionSettings | None, Found] = (trials[0].value, None, found)
    for expansion, expanded in _expanded(found, expansions):
        attempt(expanded.source, expansion, None)
        if trials[-1].value > best[0]:
            best = (trials[-1].value, expansion, expanded)
    starts: dict[ExpansionSettings | None, Found] = {None: found, best[1]: best[2]}
    for start in starts:
        for source, reranking in _reranked(starts[start], rerankings):
            attempt(source, start, reranking)
    return sorted(trials, key=lambda trial: -trial.value)


def check_grid(evaluator: Evaluator, grid: Grid, *, select_by: str) -> None:
    """Refuse what could not be tried or told, before there is any work in it.

    Raises:
        InputError: a score there is not, or steps that do not go together or with the evaluator.
    """
    check_score(select_by, top_k=evaluator.scoring.top_k)
    for step in evaluator.steps:
        if step.works_on != FEATURES:
            raise InputError(f"'{step.name}' works on {step.works_on}, so nothing can be tried after it; switch it off")
    for choice in grid.rerankings():
        check_steps([*evaluator.steps, Rerank(choice)], space=evaluator.space, scoring=evaluator.scoring)


def _words(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _expanded(found: Found, settings: Sequence[ExpansionSettings]) -> Iterator[tuple[ExpansionSettings, Found]]:
    search = found.search
    sides = expansions_of(
        found.space.queries, found.space.gallery, settings, memory_mb=search.memory_mb, precision=search.precision
    )
    return ((choice, found.with_features(*features)) for choice, features in zip(settings, sides))


def _reranked(found: Found, settings: Sequence[RerankSettings]) -> Iterator[tuple[Source, RerankSettings]]:
    """Choices that differ in their share of the first distance alone have one set of neighbours."""
    search = found.search
    for _, choices in groupby(settings, key=lambda choice: replace(choice, lambda_value=0)):
        source: KReciprocal | None = None
        for choice in choices:
            if source is None:
                source = KReciprocal(found.space, choice, memory_mb=search.memory_mb, precision=search.precision)
            yield source.with_share(choice.lambda_value), choice
