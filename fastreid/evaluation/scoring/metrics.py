"""Scores of a ranking, of a distance matrix or of features; `per_query` defines them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.evaluation.scoring.per_query import RANKS, QueryScores, ScoreSettings
from fastreid.evaluation.scoring.roc import tpr_names
from fastreid.evaluation.scoring.score_queries import score_distance_blocks, score_topk
from fastreid.evaluation.search.nearest import build_metric_space, iter_distance_blocks
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, describe_unknown
from fastreid.utils.ids import Ids


def score(
    ranking_or_distances: Ranking | Tensor | NDArray[np.floating],
    query_ids: Ids,
    gallery_ids: Ids,
    *,
    query_cameras: Ids | None = None,
    gallery_cameras: Ids | None = None,
    self_rows: Ids | None = None,
    top_k: int = 10,
    roc: bool = False,
    normalizer: str = "min",
    patent_distance: str = "best",
    recalls: Sequence[int] = (),
) -> dict[str, float]:
    """Return the scores of a ranking or of a distance matrix; `per_query` has the formulas.

    A ranking of the whole gallery or a matrix gives every score. A shorter ranking gives only those that are exact (see
    `score_topk`); "mAP", "mINP", "metric", "nDCG", "patent/mAP" and the true positive rates need the whole gallery.
    `score_features` gives every score without storing a matrix.

    Args:
        ranking_or_distances: a ranking, or floating-point distances (Q, G), in which ties are ordered by row.
        query_ids: Q ids, all strings or all integers: a list, array, tensor, pandas Series or the like. A query whose
            id is not in the gallery is not part of the means.
        gallery_ids: G ids of the same type.
        query_cameras: Q integers; None if unknown. Gallery rows with the query's id and camera are ignored.
        gallery_cameras: G integers, or None.
        self_rows: for each query the gallery row of the same drawing, which is ignored; -1 for none.
        top_k: the k of mAP@k, P@k, R@k and nDCG@k.
        roc: also return the true positive rates at fixed false positive rates; see `ScoreSettings`.
        normalizer: divisor of AP@k; see `ScoreSettings`.
        patent_distance: distance of a patent; see `ScoreSettings`.
        recalls: the K of Recall@K; see `ScoreSettings`.

    Returns:
        The scores of `score_names`, x100 (Rank-r also for a gallery of fewer than r drawings), and the counts
        "num_queries" (all) and "num_without_match".

    Raises:
        InputError: lengths that do not match, ids of two types, a ranking with rows outside the gallery, `roc` with a
            short ranking, no query with a match, or an invalid option.
        NumericalError: a distance is NaN, or Inf if patents are ranked by the mean.
    """
    settings = ScoreSettings(
        top_k=top_k, roc=roc, normalizer=normalizer, patent_distance=patent_distance, recalls=tuple(recalls)
    )
    truth = GroundTruth(
        query_ids, gallery_ids, query_cameras=query_cameras, gallery_cameras=gallery_cameras, self_rows=self_rows
    )
    if isinstance(ranking_or_distances, Ranking):
        return score_ranking(ranking_or_distances, truth, settings).means()
    distances = torch.as_tensor(ranking_or_distances)
    if distances.shape != (truth.num_queries, truth.num_gallery) or not distances.is_floating_point():
        raise InputError(
            f"distances of {truth.num_queries} queries to {truth.num_gallery} drawings must be floats "
            f"({truth.num_queries}, {truth.num_gallery}), not {distances.dtype} {tuple(distances.shape)}"
        )
    return score_distance_blocks([(torch.arange(truth.num_queries), distances)], truth, settings).means()


def score_features(
    queries: Tensor | NDArray[Any],
    gallery: Tensor | NDArray[Any],
    truth: GroundTruth,
    *,
    metric: str = "cosine",
    top_k: int = 10,
    roc: bool = False,
    memory_mb: int = 1024,
    normalizer: str = "min",
    patent_distance: str = "best",
    recalls: Sequence[int] = (),
) -> dict[str, float]:
    """Return every score of the exact ranking of the whole gallery, computed in blocks without a Q x G matrix.

    The result equals `score(nearest(queries, gallery, len(gallery)), ...)`; see there for arguments and errors.

    Args:
        queries: (Q, D) features.
        gallery: (G, D) features.
        truth: relevant and ignored rows.
        metric: one of the metrics of `nearest`.
        top_k: see `score`.
        roc: see `score`.
        memory_mb: memory for a block of distances, in MiB.
        normalizer: see `score`.
        patent_distance: see `score`.
        recalls: see `score`.
    """
    settings = ScoreSettings(
        top_k=top_k, roc=roc, normalizer=normalizer, patent_distance=patent_distance, recalls=tuple(recalls)
    )
    space = build_metric_space(queries, gallery, metric)
    if (len(space.queries), len(space.gallery)) != (truth.num_queries, truth.num_gallery):
        raise InputError(
            f"{len(space.queries)} queries and {len(space.gallery)} gallery rows have "
            f"{truth.num_queries} and {truth.num_gallery} ids; give one id per row"
        )
    return score_distance_blocks(iter_distance_blocks(space, memory_mb=memory_mb), truth, settings).means()


def score_names(*, top_k: int = 10, roc: bool = False, recalls: Sequence[int] = ()) -> tuple[str, ...]:
    """Return the names of the scores of a full ranking, without counts; TEST.SELECT_BY is one of them.

    Args:
        top_k: see `ScoreSettings`.
        roc: see `ScoreSettings`.
        recalls: see `ScoreSettings`.
    """
    ranks = (*(f"Rank-{r}" for r in RANKS), *dict.fromkeys(f"Recall@{k}" for k in recalls))
    drawings = ("mAP", f"mAP@{top_k}", *ranks, "mINP", "metric")
    lists = (f"P@{top_k}", f"R@{top_k}", "R-precision", "MAP@R", "nDCG", f"nDCG@{top_k}")
    patents = ("patent/mAP", *(f"patent/Rank-{r}" for r in RANKS))
    return (*drawings, *lists, *patents, *(tpr_names() if roc else ()))


def check_score_name(name: str, *, top_k: int = 10, roc: bool = False, recalls: Sequence[int] = ()) -> None:
    """Raise an `InputError` if a name (TEST.SELECT_BY) is not one of `score_names`.

    Args:
        name: to check.
        top_k: see `ScoreSettings`.
        roc: see `ScoreSettings`.
        recalls: see `ScoreSettings`.
    """
    known = score_names(top_k=top_k, roc=roc, recalls=recalls)
    if name not in known:
        raise InputError(describe_unknown("TEST.SELECT_BY", name, known))


def score_ranking(ranking: Ranking, truth: GroundTruth, settings: ScoreSettings) -> QueryScores:
    """Return the scores of each query for a ranking; for a short one only those that are exact (see `score_topk`).

    Args:
        ranking: gallery rows (Q, K), nearest first.
        truth: ground truth of the Q queries and the gallery.
        settings: scores to compute.

    Raises:
        InputError: the ranking is empty, does not match the ground truth, or is too short for `roc`.
    """
    rows = ranking.indices.cpu().numpy()
    if len(rows) != truth.num_queries:
        raise InputError(f"a ranking of {len(rows)} queries has {truth.num_queries} query ids; give one id per query")
    if not rows.size:
        raise InputError(f"a ranking of {len(rows)} queries and {rows.shape[1]} columns is empty")
    if not (rows.min() >= 0 and rows.max() < truth.num_gallery):
        raise InputError(f"a ranking contains row {rows.max()}, but the gallery has {truth.num_gallery} ids")
    is_full = rows.shape[1] == truth.num_gallery
    if settings.roc and not is_full:
        raise InputError(
            f"true positive rates (TEST.ROC.ENABLED) need all {truth.num_gallery} columns of a ranking, not "
            f"{rows.shape[1]}; score the features instead"
        )
    if is_full and (settings.roc or settings.patent_distance != "best"):
        distances = torch.empty_like(ranking.distances).scatter_(1, ranking.indices, ranking.distances)
        return score_distance_blocks([(torch.arange(len(rows)), distances)], truth, settings)
    return score_topk(rows, truth, settings)
