import pytest
import torch
from random_embeddings import make_embeddings

from fastreid.config import get_cfg
from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    RerankSettings,
    ScoreSettings,
    SearchSettings,
    WhiteningSettings,
    average_queries_by_object,
    expand,
    k_reciprocal,
    learn_whitening,
    nearest,
    score,
)
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.steps import Expand, FuseFeatures, FuseRanks, Rerank, Whiten
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

EXPANSION = Expand(ExpansionSettings(k=4, alpha=2.0))
RERANKING = Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3))
WHITENING = Whiten(WhiteningSettings(dim=16))


def test_plain_search_returns_ranking_and_scores():
    queries, gallery = make_embeddings()
    result = Evaluator(scoring=ScoreSettings(top_k=7))(queries, gallery)
    expected = nearest(queries.features, gallery.features, 7)
    assert torch.equal(result.ranking.indices, expected.indices)
    assert torch.equal(result.ranking.distances, expected.distances)
    complete = nearest(queries.features, gallery.features, 100)
    assert result.scores == score(complete, queries.patents, gallery.patents, top_k=7)
    assert result.steps == (("search", result.scores),)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_are_computed_after_every_step(metric):
    queries, gallery = make_embeddings()
    result = Evaluator(metric=metric, steps=[EXPANSION, RERANKING])(queries, gallery)
    assert [name for name, _ in result.steps] == ["search", "+ AQE and DBA", "+ re-ranking"]
    assert result.scores == result.steps[-1][1]
    expanded = expand(queries.features, gallery.features, k=4, alpha=2.0)
    expected = k_reciprocal(*expanded, k1=8, k2=3, lambda_value=0.3, metric=metric)
    assert torch.equal(result.ranking.indices, expected.indices[:, :10])
    assert result.scores == score(expected, queries.patents, gallery.patents)
    assert result.steps[1][1] == score(nearest(*expanded, 100, metric=metric), queries.patents, gallery.patents)


PIPELINES = {
    "search": [],
    "expansion": [EXPANSION],
    "whitening": [WHITENING],
    "re-ranking": [RERANKING],
    "all compatible steps": [WHITENING, EXPANSION, RERANKING],
    "ranks fused": [FuseRanks()],
    "re-ranked, ranks fused": [RERANKING, FuseRanks()],
    "top_n re-ranked, ranks fused": [
        Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25)),
        FuseRanks(),
    ],
    "top_n re-ranked": [Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25))],
}


@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
@pytest.mark.parametrize("engine", ["torch", "faiss"])
def test_unknown_patents_give_the_same_ranking_without_scores(steps, engine):
    evaluator = Evaluator(steps=steps, search=SearchSettings(engine=engine, memory_mb=1))
    known, unknown = evaluator(*make_embeddings()), evaluator(*make_embeddings(known=False))
    assert torch.equal(known.ranking.indices, unknown.ranking.indices)
    assert torch.equal(known.ranking.distances, unknown.ranking.distances)
    assert (unknown.scores, unknown.steps) == ({}, ())


@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
def test_scores_belong_to_the_returned_ranking(steps):
    queries, gallery = make_embeddings()
    pairs = Embeddings(
        torch.cat([queries.features, gallery.features[:40]]), queries.patents * 3, queries.names + gallery.names[:40]
    )
    rest = Embeddings(gallery.features[40:], gallery.patents[40:], gallery.names[40:])
    result = Evaluator(steps=steps)(pairs, rest)
    scores = score(result.ranking, pairs.patents, rest.patents)
    assert "mAP@10" in scores
    assert scores == {name: result.scores[name] for name in scores}


@pytest.mark.parametrize(("sides", "name"), [((True, False), "+ AQE"), ((False, True), "+ DBA")])
def test_expansion_step_is_named_after_its_sides(sides, name):
    settings = ExpansionSettings(k=3, alpha=1.0, queries_too=sides[0], gallery_too=sides[1])
    assert Evaluator(steps=[Expand(settings)])(*make_embeddings()).steps[1][0] == name


def test_own_drawing_is_ranked_but_not_scored():
    queries, gallery = make_embeddings()
    joined = Embeddings(
        torch.cat([queries.features, gallery.features]),
        queries.patents + gallery.patents,
        queries.names + gallery.names,
    )
    result = Evaluator()(queries, joined)
    assert result.ranking.indices[:, 0].tolist() == list(range(20))
    expected = nearest(queries.features, joined.features, 120)
    assert result.scores == score(expected, queries.patents, joined.patents, self_rows=range(20))


def test_build_evaluator_from_config():
    cfg = get_cfg()
    cfg.merge_from_list(
        ["TEST.METRIC", "euclidean", "TEST.AQE.ENABLED", True, "TEST.AQE.QE_K", 4, "TEST.AQE.GALLERY", False]
    )
    evaluator = build_evaluator(cfg)
    assert evaluator.steps == (Expand(ExpansionSettings(k=4, alpha=3.0, gallery_too=False)),)
    assert [name for name, _ in evaluator(*make_embeddings()).steps] == ["search", "+ AQE"]


@pytest.mark.parametrize(
    ("query_camera", "gallery_cameras", "rank_1"),
    [
        (1, (1, 2, 2), 0.0),
        (0, (0, 2, 2), 0.0),
        (-1, (-1, -1, -1), 100.0),
        (1, (1, 2, -1), 100.0),
        (3, (1, 2, 2), 100.0),
    ],
)
def test_same_camera_is_ignored_if_all_cameras_are_known(query_camera, gallery_cameras, rank_1):
    features = torch.eye(3)[[0, 1, 2]] + 0.1  # nearest first: the query's patent, another one, the query's patent
    query = Embeddings(torch.tensor([[1.0, 0.8, 0.1]]), ("a",), ("q.png",), (query_camera,))
    gallery = Embeddings(features, ("a", "b", "a"), ("1.png", "2.png", "3.png"), gallery_cameras)
    assert Evaluator()(query, gallery).scores["Rank-1"] == rank_1


def test_embeddings_reject_missing_cameras():
    with pytest.raises(InputError, match="2 features have 1 cameras; give one per feature, or none"):
        Embeddings(torch.eye(2), ("a", "b"), ("1.png", "2.png"), cameras=(1,))


def test_config_determines_the_order_of_steps():
    cfg = get_cfg()
    switches = [item for name in ("WHITEN", "FUSE", "AQE", "RERANK") for item in (f"TEST.{name}.ENABLED", True)]
    cfg.merge_from_list([*switches, "TEST.STEPS", ["AQE", "FUSE", "WHITEN", "RERANK"]])
    assert [type(step) for step in build_evaluator(cfg).steps] == [Expand, FuseFeatures, Whiten, Rerank]


def test_learned_whitening_is_returned_and_reusable():
    queries, gallery = make_embeddings()
    learned = Evaluator(steps=[WHITENING])(queries, gallery, model="abc")
    expected = learn_whitening(gallery.features, WHITENING.settings, model="abc")
    assert torch.equal(learned.whitening.matrix, expected.matrix)
    reused = Evaluator(steps=[Whiten(WHITENING.settings, "file", learned.whitening)])(queries, gallery, model="abc")
    assert torch.equal(reused.ranking.indices, learned.ranking.indices)


def test_whitening_learns_from_training_features():
    queries, gallery = make_embeddings()
    training = torch.randn(50, 32, generator=torch.Generator().manual_seed(7))
    step = Whiten(WhiteningSettings(), "train")
    result = Evaluator(steps=[step])(queries, gallery, training=lambda: training)
    assert torch.equal(result.whitening.matrix, learn_whitening(training, WhiteningSettings()).matrix)


def test_fused_queries_of_a_patent_have_the_same_ranking():
    queries, gallery = make_embeddings()
    pairs = Embeddings(
        torch.cat([queries.features, gallery.features[:20]]), queries.patents * 2, queries.names + gallery.names[:20]
    )
    rest = Embeddings(gallery.features[20:], gallery.patents[20:], gallery.names[20:])
    for step in (FuseFeatures(), FuseRanks()):
        result = Evaluator(steps=[step])(pairs, rest)
        assert torch.equal(result.ranking.indices[:20], result.ranking.indices[20:])
    by_mean = nearest(average_queries_by_object(pairs.features, pairs.patents), rest.features, 10)
    assert torch.equal(Evaluator(steps=[FuseFeatures()])(pairs, rest).ranking.indices, by_mean.indices)


def test_queries_are_grouped_by_folder():
    queries, gallery = make_embeddings(known=False)
    names = tuple(f"object {row // 2}/{row}.png" for row in range(20))
    named = Embeddings(queries.features, queries.patents, names)
    ranking = Evaluator(steps=[FuseFeatures()], group_queries_by="folder")(named, gallery).ranking
    assert torch.equal(ranking.indices[::2], ranking.indices[1::2])
    assert not torch.equal(ranking.indices[0], ranking.indices[2])
