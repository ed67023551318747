import pytest
import torch

from fastreid.evaluation import mean_of_objects, nearest
from fastreid.evaluation.postprocess.fusion import BestOfRanks, object_numbers
from fastreid.evaluation.search.distance_source import FromFeatures
from fastreid.evaluation.search.nearest import first_of, open_space
from fastreid.utils.errors import InputError, NumericalError

OBJECTS = ["a", "b", "a", "", "c", "b", "a", ""]


def sides(num_gallery=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = torch.randn(8, 6, generator=generator), torch.randn(num_gallery, 6, generator=generator)
    gallery[50:60] = gallery[3]
    return queries, gallery


def best_places(queries, gallery):
    """For each object its drawings by (best place, distance at it, row), in plain loops."""
    whole = nearest(queries, gallery, len(gallery))
    orders = []
    for mine, word in enumerate(OBJECTS):
        members = [row for row, other in enumerate(OBJECTS) if other == word and (word or row == mine)]
        best = {}
        for member in members:
            pairs = zip(whole.indices[member].tolist(), whole.distances[member].tolist())
            for place, (drawing, distance) in enumerate(pairs):
                best[drawing] = min(best.get(drawing, (place, distance)), (place, distance))
        orders.append(sorted(best, key=lambda drawing: (best[drawing], drawing)))
    return torch.tensor(orders)


def test_the_mean_is_that_of_unit_features_and_an_unknown_object_stands_alone():
    queries, _ = sides()
    unit = torch.nn.functional.normalize(queries.double())
    found = mean_of_objects(queries, OBJECTS)
    torch.testing.assert_close(found[0], unit[[0, 2, 6]].mean(0).float())
    assert torch.equal(found[0], found[6])
    torch.testing.assert_close(found[3], unit[3].float())
    assert not torch.equal(found[3], found[7])


@pytest.mark.parametrize(("num_gallery", "memory_mb"), [(70, 1024), (3000, 1), (3000, 1024)])
def test_an_object_ranks_by_the_best_place_in_its_queries_rankings(num_gallery, memory_mb):
    queries, gallery = sides(num_gallery=num_gallery)  # of few drawings, many are near several queries of an object
    source = BestOfRanks(FromFeatures(open_space(queries, gallery, "cosine"), memory_mb=memory_mb), OBJECTS)
    wanted = best_places(queries, gallery)
    assert torch.equal(first_of(source.blocks(), num_gallery).indices, wanted)
    for k in (1, 10):
        assert torch.equal(source.first(k).indices, wanted[:, :k])


def test_one_query_an_object_changes_no_ranking():
    queries, gallery = sides()
    source = BestOfRanks(FromFeatures(open_space(queries, gallery, "cosine"), memory_mb=64), list("abcdefgh"))
    assert torch.equal(source.first(20).indices, nearest(queries, gallery, 20).indices)


def test_features_that_cancel_out_are_told_by_their_object():
    with pytest.raises(NumericalError, match="the object 'a' cancel out"):
        mean_of_objects(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), ["a", "a"])


def test_objects_are_one_word_a_query():
    with pytest.raises(InputError, match="2 queries show 1 objects; give one word a query"):
        mean_of_objects(torch.eye(2), ["a"])
    assert object_numbers(["x", "", "x", ""]).tolist() == [0, 1, 0, 2]


class Counted(FromFeatures):
    """Gives blocks of a few queries, as a large gallery would."""

    def __init__(self, space, size):
        super().__init__(space, memory_mb=64)
        self.size = size

    def blocks(self, rows=None):
        rows = torch.arange(len(self.space.queries)) if rows is None else rows
        for part in rows.split(self.size):
            yield from super().blocks(part)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("words", [OBJECTS, ["a"] * 8, list("abcdefgh"), list("aaaaabbb")])
def test_objects_that_reach_over_blocks_are_fused_as_in_one(words, size):
    space = open_space(*sides(), "cosine")
    whole, parts = BestOfRanks(Counted(space, 100), words), BestOfRanks(Counted(space, size), words)
    assert torch.equal(first_of(parts.blocks(), 300).indices, first_of(whole.blocks(), 300).indices)
    assert all(len(rows) <= size for rows, _ in parts.blocks())


def test_some_rows_are_fused_among_themselves():
    space, rows = open_space(*sides(), "cosine"), torch.tensor([6, 1, 0])
    some = BestOfRanks(FromFeatures(space, memory_mb=64), OBJECTS)
    alone = BestOfRanks(FromFeatures(space.of_queries(rows.sort().values), memory_mb=64), ["a", "b", "a"])
    assert torch.equal(first_of(some.blocks(rows), 20).indices, alone.first(20).indices)
