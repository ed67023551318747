"""The evaluator: search, post-processing steps and scores of one query set and gallery."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import PurePosixPath

import torch

from fastreid.evaluation.features import Features, to_tensor
from fastreid.evaluation.pipeline import NOT_COMPARABLE, RetrievalState, SearchSettings, Step, StepInputs, check_steps
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures
from fastreid.evaluation.postprocess.whitening import Whitening
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.evaluation.scoring.matches import build_feature_truth
from fastreid.evaluation.scoring.per_query import QueryScores, ScoreSettings
from fastreid.evaluation.scoring.score_queries import score_distance_blocks
from fastreid.evaluation.search.distance_source import DistanceSource, FeatureDistances
from fastreid.evaluation.search.nearest import METRICS, DistanceBlock, TopKAccumulator
from fastreid.structures import Embeddings, Ranking
from fastreid.utils.errors import InputError

Scores = dict[str, float]

QUERY_GROUPINGS = ("patent", "folder")


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Args:
        ranking: the nearest `top_k` gallery rows of each query after the last step. A query's own drawing, if it is in
            the gallery, is in the ranking, as in fast-reid's `result.npy`.
        scores: after the last step, from the complete ranking without the queries' own drawings; empty if the patents
            are unknown. Keys and units as for `score`.
        steps: (name, scores) after plain search and after each step; empty if the patents are unknown.
        per_query: scores of each query after the last step; None if the patents are unknown.
        whitening: the whitening that was learned; None if none was learned.
    """

    ranking: Ranking
    scores: Scores
    steps: tuple[tuple[str, Scores], ...]
    per_query: QueryScores | None = None
    whitening: Whitening | None = None


class Evaluator:
    """Ranks a gallery for each query and scores the ranking.

    Args:
        metric: name in METRICS.
        search: settings of the search; None: the defaults.
        steps: post-processing steps, in order.
        scoring: settings of the scores; their `top_k` is also the number of columns of the ranking. None: the defaults.
        group_queries_by: which queries show the same object: those of the same "patent", or those in the same "folder".
        device: device to compute on.

    Raises:
        InputError: an unknown name, or steps that are incompatible with each other, the metric or the scores.
    """

    def __init__(
        self,
        *,
        metric: str = "cosine",
        search: SearchSettings | None = None,
        steps: Sequence[Step] = (),
        scoring: ScoreSettings | None = None,
        group_queries_by: str = "patent",
        device: torch.device | str = "cpu",
    ):
        self.space_class = METRICS.get(metric)
        self.search, self.scoring = search or SearchSettings(), scoring or ScoreSettings()
        check_steps(steps, space=self.space_class, scoring=self.scoring)
        if group_queries_by not in QUERY_GROUPINGS:
            raise InputError(
                f"group_queries_by (TEST.FUSE.OBJECT) must be {' or '.join(QUERY_GROUPINGS)}, not {group_queries_by!r}"
            )
        self.steps, self.group_queries_by, self.device = tuple(steps), group_queries_by, torch.device(device)

    def __call__(
        self,
        queries: Embeddings,
        gallery: Embeddings,
        *,
        training: Callable[[], Features] | None = None,
        model: str = "",
        local: Callable[[], LocalFeatures] | None = None,
    ) -> Evaluation:
        """Search, apply all steps, and compute the scores after each of them.

        Args:
            queries: features of the queries.
            gallery: features of the gallery.
            training: returns the features of the training drawings, for a step that learns from them.
            model: sha256 of the weights that computed the features; "" if unknown.
            local: returns the local features of both, for a step that compares them.

        Raises:
            InputError: queries and gallery differ in width, no query has a match, or a step cannot process them.
            NumericalError: features contain NaN or Inf, or are all zero.
        """
        state, truth = self.prepare(queries, gallery, training=training, model=model, local=local)
        steps: list[tuple[str, Scores]] = []
        ranking, per_query = None, None
        for step in (None, *self.steps):
            state = state if step is None else step(state)
            if truth is not None:
                ranking, per_query = self._rank_and_score(state.source, truth)
                steps.append(("search" if step is None else step.name, per_query.means()))
        if ranking is None:
            ranking = state.source.topk(self.scoring.top_k)
        ranking = Ranking(ranking.indices.cpu(), ranking.distances.cpu())
        return Evaluation(ranking, steps[-1][1] if steps else {}, tuple(steps), per_query, state.whitening)

    def prepare(
        self,
        queries: Embeddings,
        gallery: Embeddings,
        *,
        training: Callable[[], Features] | None = None,
        model: str = "",
        local: Callable[[], LocalFeatures] | None = None,
    ) -> tuple[RetrievalState, GroundTruth | None]:
        """Return the retrieval state before the first step, and the ground truth.

        The ground truth is None if the patents of the queries or of the gallery are unknown.

        Args:
            queries: see `__call__`.
            gallery: see `__call__`.
            training: see `__call__`.
            model: see `__call__`.
            local: see `__call__`.

        Raises:
            InputError: see `__call__`.
        """
        width, num_gallery = gallery.features.shape[1], len(gallery.names)
        num_training = None if training is None else 0
        has_local = local is not None
        self.check(width=width, num_gallery=num_gallery, num_training=num_training, model=model, has_local=has_local)
        features = [side.features for side in (queries, gallery)]
        if self.device.type != "cpu":
            features = [to_tensor(side).to(self.device) for side in features]
        space = self.space_class(*features)
        source = FeatureDistances(space, **asdict(self.search))
        object_ids = _group_queries(queries, self.group_queries_by)
        get_training = None if training is None else cache(training)  # extracted once, for any number of steps
        get_local = None if local is None else cache(local)
        state = RetrievalState(
            space, self.search, source, object_ids, training=get_training, model=model, local=get_local
        )
        return state, build_feature_truth(queries, gallery)

    def check(
        self,
        *,
        width: int = 0,
        num_gallery: int = 0,
        num_training: int | None = None,
        model: str = "",
        has_local: bool = True,
    ) -> None:
        """Check that the steps can process features with these properties, before any work.

        Args:
            width: floats per feature; 0: unknown.
            num_gallery: number of gallery drawings; 0: unknown.
            num_training: number of training features; None: there are none; 0: unknown.
            model: sha256 of the weights; "" if unknown.
            has_local: whether there are local features, or it is unknown.

        Raises:
            InputError: a step cannot process them.
        """
        for step in self.steps:
            step.check(StepInputs(self.space_class, self.scoring, width, num_gallery, num_training, model, has_local))
            if not step.keeps_width:
                width = 0

    def _rank_and_score(self, source: DistanceSource, truth: GroundTruth) -> tuple[Ranking, QueryScores]:
        """Return the top-k ranking and the scores, from one pass over the distances."""
        if self.scoring.roc and not source.is_comparable:
            raise InputError(NOT_COMPARABLE)
        top_k = TopKAccumulator(self.scoring.top_k)

        def accumulate() -> Iterator[DistanceBlock]:
            for rows, distances in source.blocks():
                top_k.update(rows, distances)
                yield rows, distances

        per_query = score_distance_blocks(accumulate(), truth, self.scoring)
        # If block distances only order each gallery, the ranking gets the distances of the source's `topk` instead.
        return (top_k.ranking() if source.is_comparable else source.topk(self.scoring.top_k)), per_query


def _group_queries(queries: Embeddings, group_by: str) -> tuple[str, ...]:
    """Return the id of the object that each query shows; "" if unknown."""
    if group_by == "patent":
        return queries.patents
    folders = (str(PurePosixPath(name).parent) for name in queries.names)
    return tuple("" if folder == "." else folder for folder in folders)
