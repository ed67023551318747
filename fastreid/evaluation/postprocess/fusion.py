"""Several query drawings of one object as one query: by the mean of their features, or by the best of their ranks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastreid.evaluation.features import Features, as_features, in_memory, row_norms
from fastreid.evaluation.search.distance_source import Source
from fastreid.evaluation.search.nearest import Block, first_of, order
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError, NumericalError

_PLACE_BITS = 32
_LAST = torch.iinfo(torch.int64).max  # a key that no place and distance have


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
        NumericalError: a row is NaN, Inf or zero, or the features of an object cancel out.
    """
    rows = in_memory(as_features(queries, "queries"))
    numbers = object_numbers(objects, num_queries=len(rows)).to(rows.device)
    unit = rows.double() / row_norms(rows, "queries")[:, None]
    sums = torch.zeros(int(numbers.max()) + 1, rows.shape[1], dtype=unit.dtype, device=rows.device)
    means = (sums.index_add_(0, numbers, unit) / numbers.bincount()[:, None])[numbers]
    opposed = (means.norm(dim=1) < 1e-6).nonzero().flatten()
    if len(opposed):
        raise NumericalError(
            f"the features of the object '{objects[int(opposed[0])]}' cancel out, so their mean has no direction; "
            "fuse by rank instead (TEST.FUSE.BY)"
        )
    return means.float()


class BestOfRanks(Source):
    """Ranks the gallery for an object by the best place a drawing has in the rankings of the object's queries.

    Where two drawings have the same best place, the one that was nearer at it comes first, then the one of the lower
    row; of a source whose distances only order each query's gallery, the one of the lower row at once. The distances
    are the places themselves, from 0.

    Args:
        source: the rankings to fuse.
        objects: as for `mean_of_objects`.
    """

    comparable = False

    def __init__(self, source: Source, objects: Sequence[str]):
        self.source, self.numbers = source, object_numbers(objects)

    def blocks(self, rows: Tensor | None = None) -> Iterator[Block]:
        """Queries come object by object; for rows that leave out some of an object's queries, these do not count.

        Of an object whose queries fill more than a block, one line of the gallery is held and not one a query.
        """
        rows = torch.arange(len(self.numbers)) if rows is None else rows.cpu()
        rows = rows[self.numbers[rows].argsort(stable=True)]
        open_rows, open_best, done = rows[:0], None, 0
        for part, distances in self.source.blocks(rows):
            done += len(part)
            step, best, lines = len(part), *self._best_keys(part, distances)
            if open_best is not None and self.numbers[open_rows[0]] == self.numbers[part[0].cpu()]:
                torch.minimum(best[0], open_best[0], out=best[0])
            elif open_best is not None:
                best, lines = torch.cat([open_best, best]), lines + 1
            members = torch.cat([open_rows, part.cpu()])
            lines = torch.cat([lines.new_zeros(len(open_rows)), lines])
            whole = len(members) if done == len(rows) else int((lines < lines[-1]).sum())
            open_rows, open_best = members[whole:], best[-1:].clone()
            if whole:
                fused = _places(best[: int(lines[whole - 1]) + 1].argsort(dim=1, stable=True)).float()
                for some in torch.arange(whole).split(step):
                    yield members[some].to(part.device), fused[lines[some.to(lines.device)]]

    def first(self, k: int) -> Ranking:
        """From the k first of each query: what is not among them for any query has k better ones before it."""
        if not self.source.comparable:  # what it tells the first with are not the distances its blocks order by
            return first_of(self.blocks(), k)
        found = self.source.first(k)
        rows = torch.empty_like(found.indices)
        keys = _keys(torch.arange(found.indices.shape[1], device=rows.device).expand_as(rows), found.distances)
        for number in range(int(self.numbers.max()) + 1):
            mine = (self.numbers == number).nonzero().flatten().to(rows.device)
            candidates, places = found.indices[mine].flatten().unique(return_inverse=True)
            best = keys.new_full((len(candidates),), _LAST)
            best.scatter_reduce_(0, places, keys[mine].flatten(), "amin")
            rows[mine] = candidates[best.argsort(stable=True)[: rows.shape[1]]]
        return Ranking(rows, torch.arange(rows.shape[1], dtype=torch.float32, device=rows.device).repeat(len(rows), 1))

    def _best_keys(self, queries: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """The best key of each drawing for each object of some queries, int64 (g, G), and each query's line in it."""
        columns = torch.arange(distances.shape[1], device=distances.device)
        keys = _keys(_places(order.encode(distances, columns).argsort(dim=1)), distances)
        numbers, lines = self.numbers[queries.cpu()].unique_consecutive(return_inverse=True)
        lines = lines.to(distances.device)
        best = keys.new_full((len(numbers), len(columns)), _LAST)
        return best.scatter_reduce_(0, lines[:, None].expand_as(keys), keys, "amin"), lines


def object_numbers(objects: Sequence[str], *, num_queries: int | None = None) -> Tensor:
    """A number for each object, int64 (Q,), from 0 in the order they come; the empty word is a new object each time."""
    if num_queries is not None and len(objects) != num_queries:
        raise InputError(f"{num_queries} queries show {len(objects)} objects; give one word a query")
    known: dict[str | int, int] = {}
    return torch.tensor([known.setdefault(word or row, len(known)) for row, word in enumerate(objects)])


def _places(in_order: Tensor) -> Tensor:
    """The place of each row of the gallery, from the rows in order: int64 (B, G), twice."""
    columns = torch.arange(in_order.shape[1], device=in_order.device)
    return torch.empty_like(in_order).scatter_(1, in_order, columns.expand_as(in_order))


def _keys(places: Tensor, distances: Tensor) -> Tensor:
    """One int64 a pair that sorts by place, then by distance."""
    return (places << _PLACE_BITS) + (order.encode(distances, torch.zeros_like(places)) >> _PLACE_BITS)
