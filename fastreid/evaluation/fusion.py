"""Several query drawings of one object as one query: by the mean of their features, or by the best of their ranks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastreid.evaluation import order
from fastreid.evaluation.features import Features, as_features, in_memory, row_norms
from fastreid.evaluation.search import Block
from fastreid.evaluation.sources import Source
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, NumbersError

_PLACE_BITS = 32


def mean_of_objects(queries: Features, objects: Sequence[str]) -> Tensor:
    """Each query's feature becomes the mean of those of its object's queries, each made to length 1 first.

    So every query of an object gets one and the same ranking, and lists and results keep their shape.

    Args:
        queries: floats (Q, D).
        objects: Q words; queries with the same word show one object, and one with the empty word stands alone.

    Returns:
        float32 (Q, D).

    Raises:
        InputError: not one word a query.
        NumbersError: a row is NaN, Inf or zero, or the features of an object cancel out.
    """
    rows = in_memory(as_features(queries, "queries"))
    numbers = object_numbers(objects, num_queries=len(rows)).to(rows.device)
    unit = rows.double() / row_norms(rows, "queries")[:, None]
    sums = torch.zeros(int(numbers.max()) + 1, rows.shape[1], dtype=unit.dtype, device=rows.device)
    means = (sums.index_add_(0, numbers, unit) / numbers.bincount()[:, None])[numbers]
    opposed = (means.norm(dim=1) < 1e-6).nonzero().flatten()
    if len(opposed):
        raise NumbersError(
            f"the features of the object '{objects[int(opposed[0])]}' cancel out, so their mean has no direction; "
            "fuse by rank instead (TEST.FUSE.BY)"
        )
    return means.float()


class BestOfRanks(Source):
    """Ranks the gallery for an object by the best place a drawing has in the rankings of the object's queries.

    Where two drawings have the same best place, the one that was nearer at it comes first, then the one of the lower
    row. The distances are the places themselves, from 0.

    Args:
        source: the rankings to fuse.
        objects: as for `mean_of_objects`.

    Raises:
        InputError: not one word a query.
    """

    comparable = False

    def __init__(self, source: Source, objects: Sequence[str]):
        self.source, self.numbers = source, object_numbers(objects)

    def blocks(self, rows: Tensor | None = None) -> Iterator[Block]:
        """Queries come object by object; for rows that leave out some of an object's queries, these do not count."""
        rows = torch.arange(len(self.numbers)) if rows is None else rows.cpu()
        rows = rows[self.numbers[rows].argsort(stable=True)]
        waiting: list[Block] = []
        done = 0
        for part, distances in self.source.blocks(rows):
            waiting.append((part, distances))
            done += len(part)
            part, distances = (torch.cat(column) for column in zip(*waiting))
            objects = self.numbers[part.cpu()]
            whole = len(part) if done == len(rows) else int((objects != objects[-1]).sum())
            waiting = [(part[whole:], distances[whole:])]
            if whole:
                yield part[:whole], _fused(distances[:whole], objects[:whole].to(distances.device))

    def first(self, k: int) -> Ranking:
        """From the k first of each query: what is not among them for any query has k better ones before it."""
        found = self.source.first(k)
        rows = torch.empty_like(found.indices)
        keys = _keys(torch.arange(found.indices.shape[1], device=rows.device).expand_as(rows), found.distances)
        for number in range(int(self.numbers.max()) + 1):
            mine = (self.numbers == number).nonzero().flatten().to(rows.device)
            candidates, places = found.indices[mine].flatten().unique(return_inverse=True)
            best = keys.new_full((len(candidates),), torch.iinfo(torch.int64).max)
            best.scatter_reduce_(0, places, keys[mine].flatten(), "amin")
            rows[mine] = candidates[best.argsort(stable=True)[: rows.shape[1]]]
        return Ranking(rows, torch.arange(rows.shape[1], dtype=torch.float32, device=rows.device).repeat(len(rows), 1))


def object_numbers(objects: Sequence[str], *, num_queries: int | None = None) -> Tensor:
    """A number for each object, int64 (Q,), from 0 in the order they come; the empty word is a new object each time."""
    if num_queries is not None and len(objects) != num_queries:
        raise InputError(f"{num_queries} queries show {len(objects)} objects; give one word a query")
    known: dict[str | int, int] = {}
    return torch.tensor([known.setdefault(word or row, len(known)) for row, word in enumerate(objects)])


def _fused(distances: Tensor, objects: Tensor) -> Tensor:
    """The places of the gallery for each query's object, float32 (B, G), from the distances of the queries."""
    columns = torch.arange(distances.shape[1], device=distances.device)
    in_order = order.encode(distances, columns).argsort(dim=1)
    places = torch.empty_like(in_order).scatter_(1, in_order, columns.expand_as(in_order))
    numbers, lines = objects.unique(return_inverse=True)
    best = places.new_full((len(numbers), len(columns)), torch.iinfo(torch.int64).max)
    best.scatter_reduce_(0, lines[:, None].expand_as(places), _keys(places, distances), "amin")
    in_order = best.argsort(dim=1, stable=True)
    fused = torch.empty_like(best).scatter_(1, in_order, columns.expand_as(in_order))
    return fused[lines].float()


def _keys(places: Tensor, distances: Tensor) -> Tensor:
    """One int64 a pair that sorts by place, then by distance."""
    return (places << _PLACE_BITS) + (order.encode(distances, torch.zeros_like(places)) >> _PLACE_BITS)
