"""From features to a ranking and its scores: search, then expansion and re-ranking where they are on."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from fastreid.evaluation import order
from fastreid.evaluation.features import check_count
from fastreid.evaluation.metrics import score_blocks
from fastreid.evaluation.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.rerank import RerankSettings, k_reciprocal_blocks
from fastreid.evaluation.search import ENGINES, METRICS, distance_blocks, neighbours
from fastreid.evaluation.space import Space
from fastreid.evaluation.truth import Truth
from fastreid.structures import Embeddings, Ranking

Scores = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What a test gave.

    Args:
        ranking: the nearest `top_k` rows of the database for each query, by the last step's distances. A query's own
            drawing, if the database holds it, stands in the ranking as in the reference's `result.npy`.
        scores: of the last step, from the whole ranking and without the queries' own drawings; empty where the
            patents are unknown. Keys and units as `score`.
        steps: (name, scores) after plain search and after each further step; empty where the patents are unknown.
    """

    ranking: Ranking
    scores: Scores
    steps: tuple[tuple[str, Scores], ...]


class Evaluator:
    """Ranks a database for queries and scores the ranking.

    Args:
        metric: a name of METRICS.
        top_k: columns of the ranking and the k of mAP@k.
        memory_mb: MiB to work in beside the features.
        engine: a name of ENGINES.
        aqe: query and database expansion, or None: off.
        rerank: k-reciprocal re-ranking, after expansion, or None: off.
        roc: also give accept rates.

    Raises:
        InputError: an unknown name, top_k or memory_mb below 1.
        EnvironmentFault: the engine's package is missing.
    """

    def __init__(
        self,
        *,
        metric: str = "cosine",
        top_k: int = 10,
        memory_mb: int = 1024,
        engine: str = "torch",
        aqe: ExpansionSettings | None = None,
        rerank: RerankSettings | None = None,
        roc: bool = False,
    ):
        self.space = METRICS.get(metric)
        ENGINES.get(engine)()
        self.top_k = check_count("top_k", top_k)
        self.memory_mb = check_count("memory_mb", memory_mb)
        self.engine, self.aqe, self.rerank, self.roc = engine, aqe, rerank, roc

    def __call__(self, queries: Embeddings, gallery: Embeddings) -> Evaluation:
        """Rank and score; a score is taken after every step, so that one sees what each gave.

        Raises:
            InputError: features of other widths, or no query with a match.
        """
        truth = _truth_of(queries, gallery)
        space = self.space(queries.features, gallery.features)
        steps: list[tuple[str, Scores]] = []
        if truth is not None or (self.aqe is None and self.rerank is None):
            ranking = self._search("search", space, truth, steps)
        if self.aqe is not None:
            space = self.space(*expand(space.queries, space.gallery, memory_mb=self.memory_mb, **asdict(self.aqe)))
            if truth is not None or self.rerank is None:
                ranking = self._search(_name_of(self.aqe), space, truth, steps)
        if self.rerank is not None:
            blocks = k_reciprocal_blocks(space, self.rerank, memory_mb=self.memory_mb)
            ranking = self._rank("+ re-ranking", blocks, truth, steps)
        return Evaluation(ranking, steps[-1][1] if steps else {}, tuple(steps))

    def _search(self, name: str, space: Space, truth: Truth | None, steps: list[tuple[str, Scores]]) -> Ranking:
        if truth is None:
            found = neighbours(space, self.top_k, memory_mb=self.memory_mb, engine=self.engine)
            return Ranking(found.indices.cpu(), found.distances.cpu())
        return self._rank(name, distance_blocks(space, memory_mb=self.memory_mb), truth, steps)

    def _rank(
        self,
        name: str,
        blocks: Iterable[tuple[Tensor, Tensor]],
        truth: Truth | None,
        steps: list[tuple[str, Scores]],
    ) -> Ranking:
        """Take the nearest of each block and, where the truth is known, score it on the way."""
        nearest: list[tuple[Tensor, Tensor]] = []

        def noted() -> Iterable[tuple[Tensor, Tensor]]:
            for rows, distances in blocks:
                columns = torch.arange(distances.shape[1], device=distances.device)
                nearest.append(order.first(distances, columns, self.top_k))
                yield rows, distances

        if truth is None:
            for _ in noted():
                continue
        else:
            steps.append((name, score_blocks(noted(), truth, top_k=self.top_k, roc=self.roc)))
        return Ranking(
            torch.cat([rows for _, rows in nearest]).cpu(), torch.cat([distances for distances, _ in nearest]).cpu()
        )


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


def _name_of(settings: ExpansionSettings) -> str:
    if settings.queries_too and settings.gallery_too:
        return "+ AQE and DBA"
    return "+ AQE" if settings.queries_too else "+ DBA"
