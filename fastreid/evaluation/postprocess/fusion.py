"""Query fusion: combine several query drawings of one object, by mean features or by best rank."""

from collections.abc import Iterator

import torch
from torch import Tensor

from fastreid.evaluation.features import FeatureArray, as_features, row_norms, to_tensor
from fastreid.evaluation.search.distance_source import DistanceSource
from fastreid.evaluation.search.nearest import DistanceBlock, topk_of_blocks
from fastreid.evaluation.search.order import encode_keys
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.ids import Ids, to_id_array

_RANK_BITS = 32
_MAX_KEY = torch.iinfo(torch.int64).max  # larger than every key
_MIN_MEAN_NORM = 1e-6  # of unit features; below it the direction of the mean is rounding error


def average_queries_by_object(queries: FeatureArray, objects: Ids) -> Tensor:
    """Replace each query's features by the mean of the unit features of its object's queries.

    All queries of an object then get the same ranking, and the number of queries does not change.

    Args:
        queries: floats (Q, D).
        objects: Q object ids. Queries with the same id show one object; a query with the empty id is a
            separate object.

    Returns:
        float32 (Q, D).

    Raises:
        InputError: the number of ids is not Q.
        NumericalError: a row contains NaN or Inf, or is all zero, or the features of an object cancel out.
    """
    rows = to_tensor(as_features(queries, "queries"))
    labels = encode_objects(objects, num_queries=len(rows)).to(rows.device)
    unit = rows.double() / row_norms(rows, "queries")[:, None]
    sums = torch.zeros(int(labels.max()) + 1, rows.shape[1], dtype=unit.dtype, device=rows.device)
    means = (sums.index_add_(0, labels, unit) / labels.bincount()[:, None])[labels]
    cancelled = (means.norm(dim=1) < _MIN_MEAN_NORM).nonzero().flatten()
    if len(cancelled):
        name = to_id_array(objects, "objects")[int(cancelled[0])]
        raise NumericalError(
            f"the features of object '{name}' cancel out, so their mean has no direction; fuse by rank instead "
            "(TEST.FUSE.BY)"
        )
    return means.float()


class BestRankFusion(DistanceSource):
    """Ranks the gallery for an object by each drawing's best rank over the object's queries.

    Drawings with the same best rank are ordered by their distance at that rank, then by row; if the distances of the
    source are not comparable between queries, by row only. The distances are the ranks themselves, from 0.

    Args:
        source: rankings to fuse.
        objects: object ids, as for `average_queries_by_object`.
    """

    is_comparable = False

    def __init__(self, source: DistanceSource, objects: Ids):
        self.source, self.labels = source, encode_objects(objects)

    def blocks(self, rows: Tensor | None = None) -> Iterator[DistanceBlock]:
        """Yield blocks object by object; if `rows` omits queries of an object, they do not count.

        If the queries of an object span several blocks, one line of keys is kept for the object, not one per query.
        """
        rows = torch.arange(len(self.labels)) if rows is None else rows.cpu()
        rows = rows[self.labels[rows].argsort(stable=True)]
        pending_rows, pending_keys, num_done = rows[:0], None, 0
        for part, distances in self.source.blocks(rows):
            num_done += len(part)
            block_size = len(part)
            keys, lines = self._best_keys(part, distances)
            if pending_keys is not None and self.labels[pending_rows[0]] == self.labels[part[0].cpu()]:
                torch.minimum(keys[0], pending_keys[0], out=keys[0])
            elif pending_keys is not None:
                keys, lines = torch.cat([pending_keys, keys]), lines + 1
            members = torch.cat([pending_rows, part.cpu()])
            lines = torch.cat([lines.new_zeros(len(pending_rows)), lines])
            # The last object of a block may continue in the next one.
            num_complete = len(members) if num_done == len(rows) else int((lines < lines[-1]).sum())
            pending_rows, pending_keys = members[num_complete:], keys[-1:].clone()
            if num_complete:
                fused = _ranks_from_order(keys[: int(lines[num_complete - 1]) + 1].argsort(dim=1, stable=True)).float()
                for chunk in torch.split(torch.arange(num_complete), block_size):
                    yield members[chunk].to(part.device), fused[lines[chunk.to(lines.device)]]

    def topk(self, k: int) -> Ranking:
        """Return the k best drawings of each query.

        The k nearest of each query are sufficient: a drawing that is among them for none of an object's queries has at
        least k drawings before it.
        """
        if not self.source.is_comparable:  # then the distances of `topk` are not those that order the blocks
            return topk_of_blocks(self.blocks(), k)
        ranking = self.source.topk(k)
        rows = torch.empty_like(ranking.indices)
        ranks = torch.arange(ranking.indices.shape[1], device=rows.device)
        keys = _encode_ranks(ranks.expand_as(rows), ranking.distances)
        for label in range(int(self.labels.max()) + 1):
            members = (self.labels == label).nonzero().flatten().to(rows.device)
            candidates, columns = torch.unique(ranking.indices[members].flatten(), return_inverse=True)
            best = keys.new_full((len(candidates),), _MAX_KEY)
            best.scatter_reduce_(0, columns, keys[members].flatten(), "amin")
            rows[members] = candidates[best.argsort(stable=True)[: rows.shape[1]]]
        return Ranking(rows, ranks.float().repeat(len(rows), 1))

    def _best_keys(self, queries: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """Return each object's best key of every drawing, int64 (g, G), and each query's line in it, int64 (B,)."""
        columns = torch.arange(distances.shape[1], device=distances.device)
        keys = _encode_ranks(_ranks_from_order(encode_keys(distances, columns).argsort(dim=1)), distances)
        labels, lines = torch.unique_consecutive(self.labels[queries.cpu()], return_inverse=True)
        lines = lines.to(distances.device)
        best = keys.new_full((len(labels), len(columns)), _MAX_KEY)
        return best.scatter_reduce_(0, lines[:, None].expand_as(keys), keys, "amin"), lines


def encode_objects(objects: Ids, *, num_queries: int | None = None) -> Tensor:
    """Return integer labels of the object ids, int64 (Q,), numbered from 0 in order of appearance.

    Each empty id gets a new label.

    Raises:
        InputError: the number of ids is not `num_queries`.
    """
    ids = to_id_array(objects, "objects").tolist()
    if num_queries is not None and len(ids) != num_queries:
        raise InputError(f"{num_queries} queries need {num_queries} object ids, not {len(ids)}")
    labels: dict[tuple[str, int], int] = {}
    keys = ((str(name), row if name == "" else -1) for row, name in enumerate(ids))
    return torch.tensor([labels.setdefault(key, len(labels)) for key in keys])


def _ranks_from_order(ordered: Tensor) -> Tensor:
    """Return the rank, from 0, of each gallery row, given the rows in ranked order; both int64 (B, G)."""
    ranks = torch.arange(ordered.shape[1], device=ordered.device)
    return torch.empty_like(ordered).scatter_(1, ordered, ranks.expand_as(ordered))


def _encode_ranks(ranks: Tensor, distances: Tensor) -> Tensor:
    """Return one int64 key per pair; keys sort by rank, then by distance."""
    return (ranks << _RANK_BITS) + (encode_keys(distances, torch.zeros_like(ranks)) >> _RANK_BITS)
