import pytest
import torch

from fastreid.config import get_cfg
from fastreid.evaluation import Evaluator, ExpansionSettings, RerankSettings, expand, k_reciprocal, nearest, score
from fastreid.evaluation.build import build_evaluator
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

EXPANSION = ExpansionSettings(k=4, alpha=2.0)
RERANKING = RerankSettings(k1=8, k2=3, lambda_value=0.3)


def embeddings(known=True):
    generator = torch.Generator().manual_seed(0)
    patents = torch.arange(20).repeat(6)
    features = torch.randn(20, 32, generator=generator)[patents] + 1.5 * torch.randn(120, 32, generator=generator)
    words = tuple(f"D{number}" if known else "" for number in patents.tolist())
    names = tuple(f"{row}.png" for row in range(120))
    return (
        Embeddings(features[:20], words[:20], names[:20]),
        Embeddings(features[20:], words[20:], names[20:]),
    )


def test_plain_search_gives_the_nearest_and_their_scores():
    queries, gallery = embeddings()
    found = Evaluator(top_k=7)(queries, gallery)
    wanted = nearest(queries.features, gallery.features, 7)
    assert torch.equal(found.ranking.indices, wanted.indices)
    assert torch.equal(found.ranking.distances, wanted.distances)
    whole = nearest(queries.features, gallery.features, 100)
    assert found.scores == score(whole, queries.patents, gallery.patents, top_k=7)
    assert found.steps == (("search", found.scores),)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_are_shown_after_every_step_and_the_last_one_counts(metric):
    queries, gallery = embeddings()
    found = Evaluator(metric=metric, aqe=EXPANSION, rerank=RERANKING)(queries, gallery)
    assert [name for name, _ in found.steps] == ["search", "+ AQE and DBA", "+ re-ranking"]
    assert found.scores == found.steps[-1][1]
    expanded = expand(queries.features, gallery.features, k=4, alpha=2.0)
    wanted = k_reciprocal(*expanded, k1=8, k2=3, lambda_value=0.3, metric=metric)
    assert torch.equal(found.ranking.indices, wanted.indices[:, :10])
    assert found.scores == score(wanted, queries.patents, gallery.patents)
    assert found.steps[1][1] == score(nearest(*expanded, 100, metric=metric), queries.patents, gallery.patents)


@pytest.mark.parametrize("aqe", [None, EXPANSION])
@pytest.mark.parametrize("rerank", [None, RERANKING])
@pytest.mark.parametrize("engine", ["torch", "faiss"])
def test_unknown_patents_give_the_same_ranking_and_no_scores(aqe, rerank, engine):
    evaluator = Evaluator(aqe=aqe, rerank=rerank, engine=engine, memory_mb=1)
    known, unknown = evaluator(*embeddings()), evaluator(*embeddings(known=False))
    assert torch.equal(known.ranking.indices, unknown.ranking.indices)
    assert torch.equal(known.ranking.distances, unknown.ranking.distances)
    assert (unknown.scores, unknown.steps) == ({}, ())


@pytest.mark.parametrize(("sides", "name"), [((True, False), "+ AQE"), ((False, True), "+ DBA")])
def test_a_step_is_named_by_the_side_it_expands(sides, name):
    settings = ExpansionSettings(k=3, alpha=1.0, queries_too=sides[0], gallery_too=sides[1])
    assert Evaluator(aqe=settings)(*embeddings()).steps[1][0] == name


def test_the_querys_own_drawing_stands_in_the_ranking_but_not_in_the_scores():
    queries, gallery = embeddings()
    joined = Embeddings(
        torch.cat([queries.features, gallery.features]),
        queries.patents + gallery.patents,
        queries.names + gallery.names,
    )
    found = Evaluator()(queries, joined)
    assert found.ranking.indices[:, 0].tolist() == list(range(20))
    wanted = nearest(queries.features, joined.features, 120)
    assert found.scores == score(wanted, queries.patents, joined.patents, own_rows=range(20))


def test_a_config_builds_the_evaluator_it_describes():
    cfg = get_cfg()
    cfg.merge_from_list(
        ["TEST.METRIC", "euclidean", "TEST.AQE.ENABLED", True, "TEST.AQE.QE_K", 4, "TEST.AQE.DATABASE", False]
    )
    evaluator = build_evaluator(cfg)
    assert evaluator.aqe == ExpansionSettings(k=4, alpha=3.0, gallery_too=False)
    assert evaluator.rerank is None
    assert [name for name, _ in evaluator(*embeddings()).steps] == ["search", "+ AQE"]


@pytest.mark.parametrize(
    ("query_camera", "gallery_cameras", "rank_1"),
    [(1, (1, 2, 2), 0.0), (-1, (-1, -1, -1), 100.0), (1, (1, 2, -1), 100.0), (3, (1, 2, 2), 100.0)],
)
def test_a_drawing_by_the_querys_camera_does_not_count_where_all_cameras_are_known(
    query_camera, gallery_cameras, rank_1
):
    features = torch.eye(3)[[0, 1, 2]] + 0.1  # nearest first: the query's patent, another, the query's patent
    query = Embeddings(torch.tensor([[1.0, 0.8, 0.1]]), ("a",), ("q.png",), (query_camera,))
    gallery = Embeddings(features, ("a", "b", "a"), ("1.png", "2.png", "3.png"), gallery_cameras)
    assert Evaluator()(query, gallery).scores["Rank-1"] == rank_1


def test_cameras_are_one_a_drawing_or_none():
    with pytest.raises(InputError, match="2 features have 1 cameras; give as many, or none"):
        Embeddings(torch.eye(2), ("a", "b"), ("1.png", "2.png"), cameras=(1,))
