"""Order the best results of a search by more than their distance to the query: query expansion and re-ranking."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import Tensor
from torch.nn.functional import normalize

from fastreid.evaluation.postprocess.query_expansion import expand
from fastreid.evaluation.postprocess.rerank import KReciprocalDistances, RerankSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalDistances, SuperGlobalSettings
from fastreid.evaluation.search.distance_source import DistanceSource
from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.evaluation.search.nearest import find_neighbors
from fastreid.utils.errors import InputError, describe_unknown

Rerank = Literal["k-reciprocal", "superglobal"]
_EXPANSION_K, _EXPANSION_ALPHA = 2, 3.0  # the query and its nearest drawing, weighted by the cube of the cosine
_K_RECIPROCAL = RerankSettings(k1=6, k2=2, lambda_value=0.5)
_SUPERGLOBAL = SuperGlobalSettings(k=3)
_MEMORY_MB = 256
_MIN_NORM = 1e-30  # below that of any feature of a collection


@dataclass(frozen=True)
class Refinement:
    """How the best results are ordered; their scores remain those of the query.

    Args:
        expand: order them by the distance to the weighted sum of the query and its nearest drawing.
        rerank: order them by "k-reciprocal" neighbors or by "superglobal" features; None: by the distance.
        num_candidates: number of best results that are ordered; all others follow by distance.

    Raises:
        InputError: the method is unknown, or the number is below 2.
    """

    expand: bool = False
    rerank: Rerank | None = None
    num_candidates: int = 200

    def __post_init__(self) -> None:
        if self.rerank is not None and self.rerank not in get_args(Rerank):
            raise InputError(describe_unknown("rerank", self.rerank, get_args(Rerank)))
        if self.num_candidates < 2:
            raise InputError(f"num_candidates is {self.num_candidates}; allowed are integers >= 2")


def refine(query: Tensor, candidates: Tensor, refinement: Refinement) -> list[int]:
    """Return the order of the nearest drawings of a query; it does not depend on the norms of the features.

    Args:
        query: float32 (D,).
        candidates: features of the nearest drawings, float32 (n, D), nearest first.
        refinement: the method.
    """
    num = len(candidates)
    if num < 2:
        return list(range(num))
    # The sum of an expansion weights a feature by its norm, and the mean of several pictures is shorter than a unit.
    queries, candidates = _make_units(query[None]), _make_units(candidates)
    if refinement.expand:
        options: dict[str, Any] = {"k": _EXPANSION_K, "alpha": _EXPANSION_ALPHA, "gallery_too": False}
        queries, _ = expand(queries, candidates, memory_mb=_MEMORY_MB, **options)
    space = CosineSpace(queries, candidates)
    if refinement.rerank is None:
        return [int(row) for row in find_neighbors(space, num, memory_mb=_MEMORY_MB).indices[0]]
    source: DistanceSource
    if refinement.rerank == "k-reciprocal":
        source = KReciprocalDistances(space, _K_RECIPROCAL, memory_mb=_MEMORY_MB)
    else:
        source = SuperGlobalDistances(space, replace(_SUPERGLOBAL, top_n=num), memory_mb=_MEMORY_MB)
    return [int(row) for row in source.topk(num).indices[0]]


def _make_units(rows: Tensor) -> Tensor:
    return normalize(rows.double(), eps=_MIN_NORM).float()
