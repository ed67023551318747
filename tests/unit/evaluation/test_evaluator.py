from dataclasses import replace

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.evaluation import (
    Evaluator,
    ExpansionSettings,
    RerankSettings,
    ScoreSettings,
    Search,
    Whitening,
    WhiteningSettings,
    expand,
    k_reciprocal,
    learn_whitening,
    mean_of_objects,
    nearest,
    score,
)
from fastreid.evaluation.build import STEPS, build_evaluator
from fastreid.evaluation.pipeline import Expand, FuseFeatures, FuseRanks, Rerank, Whiten
from fastreid.structures import Embeddings
from fastreid.utils.errors import InputError

EXPANSION = Expand(ExpansionSettings(k=4, alpha=2.0))
RERANKING = Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3))
WHITENING = Whiten(WhiteningSettings(dim=16))


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
    found = Evaluator(scoring=ScoreSettings(top_k=7))(queries, gallery)
    wanted = nearest(queries.features, gallery.features, 7)
    assert torch.equal(found.ranking.indices, wanted.indices)
    assert torch.equal(found.ranking.distances, wanted.distances)
    whole = nearest(queries.features, gallery.features, 100)
    assert found.scores == score(whole, queries.patents, gallery.patents, top_k=7)
    assert found.steps == (("search", found.scores),)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_are_shown_after_every_step_and_the_last_one_counts(metric):
    queries, gallery = embeddings()
    found = Evaluator(metric=metric, steps=[EXPANSION, RERANKING])(queries, gallery)
    assert [name for name, _ in found.steps] == ["search", "+ AQE and DBA", "+ re-ranking"]
    assert found.scores == found.steps[-1][1]
    expanded = expand(queries.features, gallery.features, k=4, alpha=2.0)
    wanted = k_reciprocal(*expanded, k1=8, k2=3, lambda_value=0.3, metric=metric)
    assert torch.equal(found.ranking.indices, wanted.indices[:, :10])
    assert found.scores == score(wanted, queries.patents, gallery.patents)
    assert found.steps[1][1] == score(nearest(*expanded, 100, metric=metric), queries.patents, gallery.patents)


PIPELINES = {
    "search": [],
    "expansion": [EXPANSION],
    "whitening": [WHITENING],
    "re-ranking": [RERANKING],
    "all that goes together": [WHITENING, EXPANSION, RERANKING],
    "ranks fused": [FuseRanks()],
    "re-ranked ranks fused": [RERANKING, FuseRanks()],
    "only the first re-ranked, ranks fused": [
        Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25)),
        FuseRanks(),
    ],
    "only the first re-ranked": [Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25))],
}


@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
@pytest.mark.parametrize("engine", ["torch", "faiss"])
def test_unknown_patents_give_the_same_ranking_and_no_scores(steps, engine):
    evaluator = Evaluator(steps=steps, search=Search(engine=engine, memory_mb=1))
    known, unknown = evaluator(*embeddings()), evaluator(*embeddings(known=False))
    assert torch.equal(known.ranking.indices, unknown.ranking.indices)
    assert torch.equal(known.ranking.distances, unknown.ranking.distances)
    assert (unknown.scores, unknown.steps) == ({}, ())


@pytest.mark.parametrize("steps", PIPELINES.values(), ids=PIPELINES)
def test_the_ranking_that_is_told_is_the_one_that_is_scored(steps):
    queries, gallery = embeddings()
    pairs = Embeddings(
        torch.cat([queries.features, gallery.features[:40]]), queries.patents * 3, queries.names + gallery.names[:40]
    )
    rest = Embeddings(gallery.features[40:], gallery.patents[40:], gallery.names[40:])
    found = Evaluator(steps=steps)(pairs, rest)
    told = score(found.ranking, pairs.patents, rest.patents)
    assert "mAP@10" in told
    assert told == {name: found.scores[name] for name in told}


@pytest.mark.parametrize(("sides", "name"), [((True, False), "+ AQE"), ((False, True), "+ DBA")])
def test_a_step_is_named_by_the_side_it_expands(sides, name):
    settings = ExpansionSettings(k=3, alpha=1.0, queries_too=sides[0], gallery_too=sides[1])
    assert Evaluator(steps=[Expand(settings)])(*embeddings()).steps[1][0] == name


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
    assert evaluator.steps == (Expand(ExpansionSettings(k=4, alpha=3.0, gallery_too=False)),)
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


def test_the_steps_of_a_config_come_in_the_order_it_gives_them():
    cfg = get_cfg()
    switches = [item for name in ("WHITEN", "FUSE", "AQE", "RERANK") for item in (f"TEST.{name}.ENABLED", True)]
    cfg.merge_from_list([*switches, "TEST.STEPS", ["AQE", "FUSE", "WHITEN", "RERANK"]])
    assert [type(step) for step in build_evaluator(cfg).steps] == [Expand, FuseFeatures, Whiten, Rerank]


def test_a_step_of_ones_own_joins_by_its_name():
    class Turn:
        name, works_on = "+ turned", "features"

        def __call__(self, found):
            return found.with_features(found.space.queries.flip(1), found.space.gallery.flip(1))

    cfg = get_cfg()
    cfg.merge_from_list(["TEST.STEPS", ["AQE", "TURN"]])
    STEPS.register("TURN")(lambda test: Turn())
    try:
        found = build_evaluator(cfg)(*embeddings())
    finally:
        del STEPS._makers["TURN"]
    assert [name for name, _ in found.steps] == ["search", "+ turned"]
    assert found.steps[0][1] == pytest.approx(found.steps[1][1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["TEST.STEPS", ["AQEE"]], "no step of post-processing is called 'AQEE'. Did you mean 'AQE'"),
        (["TEST.STEPS", ["AQE", "AQE"]], "it names each step once"),
        (["TEST.FUSE.ENABLED", True, "TEST.FUSE.BY", "rnk"], "no way to fuse queries is called 'rnk'"),
        (["TEST.RERANK.ENABLED", True, "TEST.RERANK.TOP_N", 5], r"TOP_N\) is 5 and top_k \(TEST.TOP_K\) 10"),
        (
            ["TEST.RERANK.ENABLED", True, "TEST.WHITEN.ENABLED", True, "TEST.STEPS", ["RERANK", "WHITEN"]],
            "'\\+ whitening' works on features and would undo '\\+ re-ranking'",
        ),
        (
            ["TEST.FUSE.ENABLED", True, "TEST.FUSE.BY", "rank", "TEST.AQE.ENABLED", True],
            "'\\+ AQE and DBA' works on features",
        ),
    ],
)
def test_steps_that_do_not_go_together_are_refused_before_any_work(settings, words):
    cfg = get_cfg()
    cfg.merge_from_list(settings)
    with pytest.raises(InputError, match=words):
        build_evaluator(cfg)


def test_whitening_learnt_on_the_way_is_handed_out_and_serves_again():
    queries, gallery = embeddings()
    first = Evaluator(steps=[WHITENING])(queries, gallery, model="abc")
    wanted = learn_whitening(gallery.features, WHITENING.settings, model="abc")
    assert torch.equal(first.whitening.matrix, wanted.matrix)
    again = Evaluator(steps=[Whiten(WHITENING.settings, "file", first.whitening)])(queries, gallery, model="abc")
    assert torch.equal(again.ranking.indices, first.ranking.indices)


READY = Whitening(torch.zeros(32), torch.eye(32)[:, :8], model="abc")


@pytest.mark.parametrize(
    ("step", "model", "words"),
    [
        (
            Whiten(WhiteningSettings(), "f", READY),
            "xyz",
            r"weights \(sha256 abc\) than the features are made with \(xyz\)",
        ),
        (Whiten(WhiteningSettings(), "f", replace(READY, mean=torch.zeros(9))), "", "from 9 floats a row, not 32"),
        (
            Whiten(WhiteningSettings(dim=33)),
            "",
            "DIM\\) is 33, but 100 features of 32 floats vary in 32 directions at most",
        ),
        (
            Whiten(WhiteningSettings(dim=100), "train"),
            "",
            "no features of training drawings; tools/extract.py --split all",
        ),
    ],
)
def test_features_that_a_step_cannot_work_on_are_refused_before_the_search(step, model, words, monkeypatch):
    monkeypatch.delattr("fastreid.evaluation.evaluator.FromFeatures")  # what searches
    with pytest.raises(InputError, match=words):
        Evaluator(steps=[FuseFeatures(), step])(*embeddings(), model=model)


class Half:
    """A step that leaves half of the width."""

    name, works_on = "+ half", "features"

    def __call__(self, found):
        return found.with_features(found.space.queries[:, :16], found.space.gallery[:, :16])


def test_whitening_after_a_step_that_changes_the_width_is_held_to_that_width():
    ready = Whiten(WhiteningSettings(), "f", replace(READY, mean=torch.zeros(16), matrix=torch.eye(16)))
    found = Evaluator(steps=[Half(), ready])(*embeddings())
    assert found.whitening is None  # nothing was learnt
    with pytest.raises(InputError, match="from 16 floats a row, not 32"):
        Evaluator(steps=[ready])(*embeddings())


def test_a_source_of_whitening_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="learn_from is database or train, or what was learnt is given, not 'trian'"):
        Whiten(WhiteningSettings(), "trian")


def test_whitening_is_learnt_from_training_drawings_where_it_should():
    queries, gallery = embeddings()
    training = torch.randn(50, 32, generator=torch.Generator().manual_seed(7))
    step = Whiten(WhiteningSettings(), "train")
    found = Evaluator(steps=[step])(queries, gallery, training=lambda: training)
    assert torch.equal(found.whitening.matrix, learn_whitening(training, WhiteningSettings()).matrix)


def test_queries_of_one_patent_are_fused_and_get_one_ranking():
    queries, gallery = embeddings()
    pairs = Embeddings(
        torch.cat([queries.features, gallery.features[:20]]), queries.patents * 2, queries.names + gallery.names[:20]
    )
    rest = Embeddings(gallery.features[20:], gallery.patents[20:], gallery.names[20:])
    for step in (FuseFeatures(), FuseRanks()):
        found = Evaluator(steps=[step])(pairs, rest)
        assert torch.equal(found.ranking.indices[:20], found.ranking.indices[20:])
    by_mean = nearest(mean_of_objects(pairs.features, pairs.patents), rest.features, 10)
    assert torch.equal(Evaluator(steps=[FuseFeatures()])(pairs, rest).ranking.indices, by_mean.indices)


def test_objects_are_told_by_folder_where_patents_are_not():
    queries, gallery = embeddings(known=False)
    names = tuple(f"object {row // 2}/{row}.png" for row in range(20))
    named = Embeddings(queries.features, queries.patents, names)
    ranking = Evaluator(steps=[FuseFeatures()], objects="folder")(named, gallery).ranking
    assert torch.equal(ranking.indices[::2], ranking.indices[1::2])
    assert not torch.equal(ranking.indices[0], ranking.indices[2])


def test_two_re_rankings_are_refused_since_one_would_be_for_nothing():
    with pytest.raises(InputError, match="would undo"):
        Evaluator(steps=[RERANKING, RERANKING])


def test_accept_rates_are_refused_where_distances_do_not_compare():
    steps = [Rerank(RerankSettings(k1=8, k2=3, lambda_value=0.3, top_n=25))]
    with pytest.raises(InputError, match=r"TEST\.ROC compares distances of all queries"):
        Evaluator(steps=steps, scoring=ScoreSettings(roc=True))


def test_re_ranking_by_inner_products_is_refused_before_any_work():
    with pytest.raises(InputError, match="asks for a distance"):
        Evaluator(metric="inner_product", steps=[RERANKING])


def test_accept_rates_of_anybodys_distances_that_do_not_compare_are_refused():
    class Shuffle:
        name, works_on = "+ shuffled", "rankings"

        def __call__(self, found):
            return FuseRanks()(found)

    with pytest.raises(InputError, match=r"TEST\.ROC compares"):
        Evaluator(steps=[Shuffle()], scoring=ScoreSettings(roc=True))(*embeddings())
