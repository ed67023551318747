"""Scores of a ranking, of a matrix of distances or of features; what each score is, `per_query` says."""

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.scoring.ground_truth import Ids, Truth
from fastreid.evaluation.scoring.per_query import RANKS, QueryScores, ScoreSettings
from fastreid.evaluation.scoring.roc import accept_names
from fastreid.evaluation.scoring.score_queries import judge_blocks, judge_rows
from fastreid.evaluation.search.nearest import distance_blocks, open_space
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, suggest


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
    normaliser: str = "min",
    patent_distance: str = "best",
) -> dict[str, float]:
    """Scores of a ranking or of a matrix of distances against the patents' ids; formulas in `per_query`.

    A ranking of the whole gallery and a matrix give every score. A shorter ranking gives those it can tell exactly
    (`judge_rows` says which) and no other; "mAP", "mINP", "metric", "nDCG" and "patent/mAP" need the whole gallery,
    and so do accept rates. `score_features` gives every score without a matrix.

    Args:
        ranking_or_distances: a ranking, or float distances (Q, G), where equal ones stand in order of their rows.
        query_ids: Q ids, words or integers. A query whose id the gallery lacks is left out of the scores and counted.
        gallery_ids: G ids.
        query_cameras: Q integers, or None: unknown. Rows with the query's id and camera do not count.
        gallery_cameras: G integers, or None.
        own_rows: for each query the row that is the very same drawing, -1 for none; it does not count.
        top_k: the k of mAP@k, P@k, R@k and nDCG@k.
        roc: also give the accept rates, over all pairs that count, those of queries without a match included.
        normaliser: what mAP@k divides by; see `ScoreSettings`.
        patent_distance: how near a patent is; see `ScoreSettings`.

    Returns:
        The names of `score_names`, Rank-r defined also for a smaller gallery, all x100; "num_queries" (all) and
        "num_without_match" are counts.

    Raises:
        InputError: lengths that do not fit, ids of two kinds, a ranking of rows the gallery does not have, `roc` of a
            short ranking, no query with a match, a choice there is not.
        NumericalError: a distance is NaN, or Inf where patents are ranked by the mean.
    """
    settings = ScoreSettings(top_k=top_k, roc=roc, normaliser=normaliser, patent_distance=patent_distance)
    truth = Truth(
        query_ids, gallery_ids, query_cameras=query_cameras, gallery_cameras=gallery_cameras, own_rows=own_rows
    )
    if isinstance(ranking_or_distances, Ranking):
        return score_ranking(ranking_or_distances, truth, settings).means()
    distances = torch.as_tensor(ranking_or_distances)
    if distances.shape != (truth.num_queries, truth.num_gallery) or not distances.is_floating_point():
        raise InputError(
            f"distances of {truth.num_queries} queries to {truth.num_gallery} drawings are floats "
            f"({truth.num_queries}, {truth.num_gallery}), not {distances.dtype} {tuple(distances.shape)}"
        )
    return judge_blocks([(torch.arange(truth.num_queries), distances)], truth, settings).means()


def score_features(
    queries: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    truth: Truth,
    *,
    metric: str = "cosine",
    top_k: int = 10,
    roc: bool = False,
    memory_mb: int = 1024,
    normaliser: str = "min",
    patent_distance: str = "best",
) -> dict[str, float]:
    """Every score of the exact ranking of the whole gallery by features, some queries at a time: Q x G is never held.

    The same numbers as `score(nearest(queries, gallery, len(gallery)), ...)`; arguments and refusals as there.
    """
    settings = ScoreSettings(top_k=top_k, roc=roc, normaliser=normaliser, patent_distance=patent_distance)
    space = open_space(queries, gallery, metric)
    if (len(space.queries), len(space.gallery)) != (truth.num_queries, truth.num_gallery):
        raise InputError(
            f"{len(space.queries)} queries and {len(space.gallery)} gallery rows have "
            f"{truth.num_queries} and {truth.num_gallery} ids; give one id a row"
        )
    return judge_blocks(distance_blocks(space, memory_mb=memory_mb), truth, settings).means()


def score_names(*, top_k: int = 10, roc: bool = False) -> tuple[str, ...]:
    """The scores, without counts, that a whole ranking gives; by one of them the best model is chosen."""
    drawings = ("mAP", f"mAP@{top_k}", *(f"Rank-{r}" for r in RANKS), "mINP", "metric")
    lists = (f"P@{top_k}", f"R@{top_k}", "R-precision", "nDCG", f"nDCG@{top_k}")
    patents = ("patent/mAP", *(f"patent/Rank-{r}" for r in RANKS))
    return (*drawings, *lists, *patents, *(accept_names() if roc else ()))


def check_score(name: str, *, top_k: int = 10, roc: bool = False) -> None:
    """Refuse to choose by a score (TEST.SELECT_BY) that is none of `score_names`."""
    known = score_names(top_k=top_k, roc=roc)
    if name not in known:
        raise InputError(f"TEST.SELECT_BY: there is no score '{name}' to choose by.{suggest(name, known)}")


def score_ranking(ranking: Ranking, truth: Truth, settings: ScoreSettings) -> QueryScores:
    """What every query gets for a ranking, whose truth is known; of a short one as `judge_rows`."""
    rows = ranking.indices.cpu().numpy()
    if len(rows) != truth.num_queries:
        raise InputError(
            f"a ranking of {len(rows)} queries was given {truth.num_queries} query ids; give one id a query"
        )
    if not rows.size:
        raise InputError(f"a ranking of {len(rows)} queries has {rows.shape[1]} columns; nothing to score")
    if not (rows.min() >= 0 and rows.max() < truth.num_gallery):
        raise InputError(f"a ranking holds row {rows.max()}, but the gallery has {truth.num_gallery} ids")
    whole = rows.shape[1] == truth.num_gallery
    if settings.roc and not whole:
        raise InputError(f"accept rates need all {truth.num_gallery} columns, not {rows.shape[1]}; score the features")
    if whole and (settings.roc or settings.patent_distance != "best"):
        distances = torch.empty_like(ranking.distances).scatter_(1, ranking.indices, ranking.distances)
        return judge_blocks([(torch.arange(len(rows)), distances)], truth, settings)
    return judge_rows(rows, truth, settings)
