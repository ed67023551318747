"""Search in a back end: exact distances of its candidates, several query pictures, groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fastreid.evaluation.search.metric_space import CosineSpace
from fastreid.index.backends.base import Backend
from fastreid.index.columns import SYSTEM_COLUMNS, Row, list_names
from fastreid.index.filters import Filter
from fastreid.index.refinement import Refinement, refine
from fastreid.utils.errors import InputError, describe_unknown

Combine = Literal["mean", "best"]
COMBINATIONS: tuple[Combine, ...] = ("mean", "best")
_Key = tuple[str, Any]  # of a group
_MIN_NORM = 1e-6  # of the mean of unit features


@dataclass(frozen=True)
class Hit:
    """A drawing that a search found.

    Args:
        id: in the collection.
        patent: None if it is unknown.
        score: cosine of the features, -1 to 1; 1: the same direction.
        distance: one minus the cosine, as in `fastreid.evaluation.nearest`.
        path: its file.
        page: its page in the file, from 1.
        metadata: the other columns that have a value.
        probability: that it shows the object of the query; None if the model has no calibration.
    """

    id: str
    patent: str | None
    score: float
    distance: float
    path: str
    page: int
    metadata: Row
    probability: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the hit with values that JSON has; dates are texts."""
        fields = {name: value for name, value in vars(self).items() if name != "metadata"}
        other = {
            name: value if isinstance(value, (int, float)) else str(value) for name, value in self.metadata.items()
        }
        return {**fields, "metadata": other}


def search_backend(
    backend: Backend,
    queries: Tensor,
    k: int,
    *,
    node: Filter | None = None,
    group: str | None = None,
    combine: Combine = "mean",
    min_score: float = -1.0,
    refinement: Refinement | None = None,
) -> list[Hit]:
    """Return the nearest rows of one object, nearest first; ties are ordered by id.

    Args:
        backend: the table.
        queries: features of one or more pictures of the object, float32 (n, D).
        k: number of results.
        node: only rows that fulfill this filter.
        group: return only the nearest row of each value of this column; rows without a value are groups of one.
        combine: "mean": search with the mean of the unit features; "best": order by the best rank of a row, or of its
            group, over the rankings of the pictures, then by distance.
        min_score: smallest score of a result.
        refinement: how the best rows of each ranking are ordered; None: by distance.

    Raises:
        InputError: the queries have another dimension or their mean is zero, or an option is invalid.
    """
    if k < 1:
        raise InputError(f"k is {k}; allowed are integers >= 1")
    if combine not in COMBINATIONS:
        raise InputError(describe_unknown("combine", combine, COMBINATIONS))
    if group is not None and group not in backend.columns():
        raise InputError(describe_unknown("the column of group", group, list_names(backend.columns())))
    if queries.ndim != 2 or queries.shape[1] != backend.dim or not len(queries):
        raise InputError(f"a query must be float32 (n, {backend.dim}), not {tuple(queries.shape)}")
    if not torch.isfinite(queries).all() or (queries.norm(dim=1) == 0).any():
        raise InputError("the features of a query are NaN, Inf or zero; check the pictures and the model")
    queries = combine_queries(queries, combine)
    options: dict[str, Any] = {"node": node, "group": group, "min_score": min_score, "refinement": refinement}
    rankings = [_rank(backend, query, k, **options) for query in queries]
    return list(rankings[0].values()) if len(rankings) == 1 else _merge_by_rank(rankings)[:k]


def combine_queries(queries: Tensor, combine: Combine) -> Tensor:
    """Return the features whose rankings a search merges: all, or their mean, float32 (n, D).

    Args:
        queries: features of pictures of one object, float32 (n, D).
        combine: as for `search_backend`.

    Raises:
        InputError: their mean is zero.
    """
    if combine != "mean" or len(queries) < 2:
        return queries
    units = queries.double() / queries.double().norm(dim=1, keepdim=True)
    mean: Tensor = units.mean(dim=0, keepdim=True).float()
    if mean.norm() < _MIN_NORM:
        raise InputError("the mean of the query pictures is zero; search with --combine best")
    return mean


def make_score(distance: float) -> float:
    """Return the score of a distance, rounded."""
    return round(1 - distance, 6)


def _rank(
    backend: Backend,
    query: Tensor,
    k: int,
    *,
    node: Filter | None,
    group: str | None,
    min_score: float,
    refinement: Refinement | None,
) -> dict[_Key, Hit]:
    """Return the nearest row of each of the k nearest groups, nearest first or in the refined order.

    Rows with a smaller score are left out here, because the refined order is not that of the scores, and because a row
    can have a large score for another picture than that of its best rank.
    """
    num = k if refinement is None else max(k, refinement.num_candidates)
    found = backend.find_candidates(query, num, node=node, distinct=group)
    if not found.rows:
        return {}
    space = CosineSpace(query[None], found.vectors)
    distances = space.distances(torch.zeros(1, dtype=torch.int64), slice(0, len(found.rows)))[0].tolist()
    hits = [_make_hit(row, distance) for row, distance in zip(found.rows, distances, strict=True)]
    order = sorted(range(len(hits)), key=lambda row: (hits[row].distance, hits[row].id))
    if refinement is not None:
        best = order[: refinement.num_candidates]
        order[: len(best)] = [best[position] for position in refine(query, found.vectors[best], refinement)]
    nearest: dict[_Key, Hit] = {}
    for row in order:
        if hits[row].score >= min_score:
            nearest.setdefault(_make_key(found.rows[row], group), hits[row])
    return dict(list(nearest.items())[:k])


def _make_hit(row: Row, distance: float) -> Hit:
    patent = row.get("patent")
    metadata = {
        name: value
        for name, value in row.items()
        if value is not None and name != "patent" and name not in SYSTEM_COLUMNS
    }
    return Hit(
        str(row["id"]),
        None if patent is None else str(patent),
        make_score(distance),
        distance,
        str(row.get("path") or ""),
        int(str(row.get("page") or 1)),
        metadata,
    )


def _make_key(row: Row, group: str | None) -> _Key:
    value = None if group is None else row.get(group)
    return ("id", row["id"]) if value is None else ("group", value)


def _merge_by_rank(rankings: Sequence[Mapping[_Key, Hit]]) -> list[Hit]:
    """Return the hits of several rankings by their best rank, then by distance and id; each group once."""
    best: dict[_Key, tuple[int, float, str, Hit]] = {}
    for ranking in rankings:
        for rank, (key, hit) in enumerate(ranking.items()):
            entry = (rank, hit.distance, hit.id, hit)
            if key not in best or entry[:3] < best[key][:3]:
                best[key] = entry
    return [entry[3] for entry in sorted(best.values(), key=lambda entry: entry[:3])]
