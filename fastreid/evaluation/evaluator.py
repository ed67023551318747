"""From features to a ranking and its scores: search, then the steps of post-processing one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

import torch

from fastreid.evaluation.features import Features, in_memory
from fastreid.evaluation.pipeline import NOT_COMPARABLE, Expand, Found, FuseFeatures, Search, Step, Whiten, check_steps
from fastreid.evaluation.postprocess.whitening import Whitening
from fastreid.evaluation.scoring.ground_truth import Truth
from fastreid.evaluation.scoring.per_query import QueryScores, ScoreSettings
from fastreid.evaluation.scoring.score_queries import judge_blocks
from fastreid.evaluation.search.distance_source import FromFeatures, Source
from fastreid.evaluation.search.nearest import METRICS, Block, Firsts
from fastreid.structures import Embeddings, Ranking
from fastreid.utils.errors import InputError

Scores = dict[str, float]

OBJECTS = ("patent", "folder")  # what says which queries show one object


@dataclass(frozen=True)
class Evaluation:
    """What a test gave.

    Args:
        ranking: the nearest `top_k` rows of the database for each query, by the last step's distances. A query's own
            drawing, if the database holds it, stands in the ranking as in the reference's `result.npy`.
        scores: of the last step, from the whole ranking and without the queries' own drawings; empty where the
            patents are unknown. Keys and units as `score`.
        steps: (name, scores) after plain search and after each further step; empty where the patents are unknown.
        per_query: what each query got after the last step; None where the patents are unknown.
        whitening: what was learnt; None where nothing was.
    """

    ranking: Ranking
    scores: Scores
    steps: tuple[tuple[str, Scores], ...]
    per_query: QueryScores | None = None
    whitening: Whitening | None = None


class Evaluator:
    """Ranks a database for queries and scores the ranking.

    Args:
        metric: a name of METRICS.
        search: how to search; as `nearest` does by itself when None.
        steps: of post-processing, in order.
        scoring: which scores, and by their `top_k` the columns of the ranking; the usual ones when None.
        objects: which queries show one object: those of one "patent", or whose names begin with one "folder".
        device: where to work.

    Raises:
        InputError: an unknown name, or steps that do not go together or with the metric or accept rates.
    """

    def __init__(
        self,
        *,
        metric: str = "cosine",
        search: Search | None = None,
        steps: Sequence[Step] = (),
        scoring: ScoreSettings | None = None,
        objects: str = "patent",
        device: torch.device | str = "cpu",
    ):
        self.space, self.search, self.scoring = METRICS.get(metric), search or Search(), scoring or ScoreSettings()
        check_steps(steps, space=self.space, scoring=self.scoring)
        if objects not in OBJECTS:
            raise InputError(f"objects (TEST.FUSE.OBJECT) are told by {' or '.join(OBJECTS)}, not {objects!r}")
        self.steps, self.objects, self.device = tuple(steps), objects, torch.device(device)

    def __call__(
        self,
        queries: Embeddings,
        gallery: Embeddings,
        *,
        training: Callable[[], Features] | None = None,
        model: str = "",
    ) -> Evaluation:
        """Rank and score; a score is taken after every step, so that one sees what each gave.

        Args:
            queries: of the query list.
            gallery: of the database list.
            training: gives the training drawings' features, for a step that learns from them.
            model: the sha256 of the weights that gave the features, if it is known.

        Raises:
            InputError: features of other widths, no query with a match, or a step that cannot work on these.
            NumericalError: features are NaN, Inf or zero.
        """
        found, truth = self.open(queries, gallery, training=training, model=model)
        steps: list[tuple[str, Scores]] = []
        ranking, judged = None, None
        for step in (None, *self.steps):
            found = found if step is None else step(found)
            if truth is not None:
                ranking, judged = self._judge(found.source, truth)
                steps.append(("search" if step is None else step.name, judged.means()))
        if ranking is None:
            ranking = found.source.first(self.scoring.top_k)
        ranking = Ranking(ranking.indices.cpu(), ranking.distances.cpu())
        return Evaluation(ranking, steps[-1][1] if steps else {}, tuple(steps), judged, found.whitening)

    def open(
        self,
        queries: Embeddings,
        gallery: Embeddings,
        *,
        training: Callable[[], Features] | None = None,
        model: str = "",
    ) -> tuple[Found, Truth | None]:
        """What plain search finds, before any step, and who matches whom; None where one side's patents are unknown.

        Arguments and refusals as for a call.
        """
        width, num_gallery = gallery.features.shape[1], len(gallery.names)
        num_training = None if training is None else 0
        self.check(width=width, num_gallery=num_gallery, num_training=num_training, model=model)
        sides = [side.features for side in (queries, gallery)]
        if self.device.type != "cpu":
            sides = [in_memory(side).to(self.device) for side in sides]
        space = self.space(*sides)
        source, objects = FromFeatures(space, **asdict(self.search)), _objects_of(queries, self.objects)
        found = Found(space, self.search, source, objects, training=training, model=model)
        return found, _truth_of(queries, gallery)

    def check(self, *, width: int = 0, num_gallery: int = 0, num_training: int | None = None, model: str = "") -> None:
        """Refuse features that a step could not work on, before there is any work in them.

        Args:
            width: floats a feature; 0: not known.
            num_gallery: drawings in the database; 0: not known.
            num_training: features of training drawings; None: there are none; 0: not known how many.
            model: the sha256 of the weights; "" not known.
        """
        for step in self.steps:
            if isinstance(step, Whiten):
                step.check(width=width, num_gallery=num_gallery, num_training=num_training, model=model)
            if not isinstance(step, (FuseFeatures, Expand)):
                width = 0  # it may be another from here on

    def _judge(self, source: Source, truth: Truth) -> tuple[Ranking, QueryScores]:
        """The nearest and the scores, from one pass over the distances."""
        if self.scoring.roc and not source.comparable:
            raise InputError(NOT_COMPARABLE)
        firsts = Firsts(self.scoring.top_k)

        def noted() -> Iterator[Block]:
            for rows, distances in source.blocks():
                firsts.take(rows, distances)
                yield rows, distances

        judged = judge_blocks(noted(), truth, self.scoring)
        # Distances that only order a gallery are made for scoring; the ranking has those it is told with.
        return (firsts.ranking() if source.comparable else source.first(self.scoring.top_k)), judged


def _truth_of(queries: Embeddings, gallery: Embeddings) -> Truth | None:
    """Who matches whom, or None where one side's patents are all unknown; cameras count where every drawing has one."""
    if not (any(queries.patents) and any(gallery.patents)):
        return None
    row_of = {name: row for row, name in enumerate(gallery.names)}
    own_rows = [row_of.get(name, -1) for name in queries.names]
    known = all(side.cameras and min(side.cameras) >= 0 for side in (queries, gallery))
    return Truth(
        queries.patents,
        gallery.patents,
        query_cameras=queries.cameras if known else None,
        gallery_cameras=gallery.cameras if known else None,
        own_rows=own_rows,
    )


def _objects_of(queries: Embeddings, told_by: str) -> tuple[str, ...]:
    """The object each query shows, as a word; "" where nothing tells it."""
    if told_by == "patent":
        return queries.patents
    folders = (str(PurePosixPath(name).parent) for name in queries.names)
    return tuple("" if folder == "." else folder for folder in folders)
