import pytest
import torch

from fastreid.evaluation import average_queries_by_object, nearest
from fastreid.evaluation.postprocess.fusion import BestRankFusion, encode_objects
from fastreid.evaluation.search.distance_source import FeatureDistances
from fastreid.evaluation.search.nearest import build_metric_space, topk_of_blocks
from fastreid.utils.errors import InputError, NumericalError

OBJECTS = ["a", "b", "a", "", "c", "b", "a", ""]


def make_features(num_gallery=300, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries, gallery = torch.randn(8, 6, generator=generator), torch.randn(num_gallery, 6, generator=generator)
    gallery[50:60] = gallery[3]
    return queries, gallery


def rank_by_best_rank(queries, gallery):
    """Return each query's drawings sorted by (best rank, distance at it, row), computed with plain loops."""
    whole = nearest(queries, gallery, len(gallery))
    orders = []
    for query, object_id in enumerate(OBJECTS):
        members = [row for row, other in enumerate(OBJECTS) if other == object_id and (object_id or row == query)]
        best = {}
        for member in members:
            pairs = zip(whole.indices[member].tolist(), whole.distances[member].tolist())
            for rank, (drawing, distance) in enumerate(pairs):
                best[drawing] = min(best.get(drawing, (rank, distance)), (rank, distance))
        orders.append(sorted(best, key=lambda drawing: (best[drawing], drawing)))
    return torch.tensor(orders)


def test_average_uses_unit_features_and_skips_unknown_objects():
    queries, _ = make_features()
    unit = torch.nn.functional.normalize(queries.double())
    averaged = average_queries_by_object(queries, OBJECTS)
    torch.testing.assert_close(averaged[0], unit[[0, 2, 6]].mean(0).float())
    assert torch.equal(averaged[0], averaged[6])
    torch.testing.assert_close(averaged[3], unit[3].float())
    assert not torch.equal(averaged[3], averaged[7])


@pytest.mark.parametrize(("num_gallery", "memory_mb"), [(70, 1024), (3000, 1), (3000, 1024)])
def test_object_is_ranked_by_its_best_rank(num_gallery, memory_mb):
    queries, gallery = make_features(
        num_gallery=num_gallery
    )  # in a small gallery, many drawings are near several queries of an object
    source = BestRankFusion(
        FeatureDistances(build_metric_space(queries, gallery, "cosine"), memory_mb=memory_mb), OBJECTS
    )
    expected = rank_by_best_rank(queries, gallery)
    assert torch.equal(topk_of_blocks(source.blocks(), num_gallery).indices, expected)
    for k in (1, 10):
        assert torch.equal(source.topk(k).indices, expected[:, :k])


def test_one_query_per_object_keeps_the_ranking():
    queries, gallery = make_features()
    source = BestRankFusion(
        FeatureDistances(build_metric_space(queries, gallery, "cosine"), memory_mb=64), list("abcdefgh")
    )
    assert torch.equal(source.topk(20).indices, nearest(queries, gallery, 20).indices)


def test_features_that_cancel_out_name_their_object():
    with pytest.raises(NumericalError, match="the features of object 'a' cancel out"):
        average_queries_by_object(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), ["a", "a"])


def test_each_query_needs_one_object_id():
    with pytest.raises(InputError, match="2 queries need 2 object ids, not 1"):
        average_queries_by_object(torch.eye(2), ["a"])
    assert encode_objects(["x", "", "x", ""]).tolist() == [0, 1, 0, 2]


class SmallBlocks(FeatureDistances):
    """Yields blocks of a few queries, as for a large gallery."""

    def __init__(self, space, size):
        super().__init__(space, memory_mb=64)
        self.size = size

    def blocks(self, rows=None):
        rows = torch.arange(len(self.space.queries)) if rows is None else rows
        for part in rows.split(self.size):
            yield from super().blocks(part)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("objects", [OBJECTS, ["a"] * 8, list("abcdefgh"), list("aaaaabbb")])
def test_objects_that_span_blocks_are_fused_completely(objects, size):
    space = build_metric_space(*make_features(), "cosine")
    whole, parts = BestRankFusion(SmallBlocks(space, 100), objects), BestRankFusion(SmallBlocks(space, size), objects)
    assert torch.equal(topk_of_blocks(parts.blocks(), 300).indices, topk_of_blocks(whole.blocks(), 300).indices)
    assert all(len(rows) <= size for rows, _ in parts.blocks())


def test_selected_rows_are_fused_among_themselves():
    space, rows = build_metric_space(*make_features(), "cosine"), torch.tensor([6, 1, 0])
    selected = BestRankFusion(FeatureDistances(space, memory_mb=64), OBJECTS)
    alone = BestRankFusion(FeatureDistances(space.select_queries(rows.sort().values), memory_mb=64), ["a", "b", "a"])
    assert torch.equal(topk_of_blocks(selected.blocks(rows), 20).indices, alone.topk(20).indices)
