import sys
import tracemalloc
from fractions import Fraction
from math import log2

import numpy as np
import pytest
import torch
from sklearn import metrics

from fastreid.evaluation import ScoreSettings, GroundTruth, nearest, score
from fastreid.evaluation.scoring import bootstrap
from fastreid.evaluation.scoring.metrics import score_names
from fastreid.evaluation.scoring.score_queries import score_distance_blocks, score_topk
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

# One query; the gallery's rows stand in order. Its matches are at places 1, 3 and 12 of 12.
DISTANCES = torch.arange(12.0)[None]
GALLERY = ["a", "b", "a", *"cdefghij"[:8], "a"]


def percent(fraction):
    return pytest.approx(100 * float(fraction), rel=1e-12)


def random_case(num_queries=40, num_gallery=300, num_ids=25, seed=0):
    generator = torch.Generator().manual_seed(seed)
    distances = torch.rand(num_queries, num_gallery, generator=generator)
    distances[:, 20:30] = distances[:, 19:20]  # ties
    ids = torch.randint(0, num_ids, (num_queries + num_gallery,), generator=generator).numpy()
    return distances, ids[:num_queries], ids[num_queries:]


def judged(distances, query_ids, gallery_ids, **choices):
    return score_distance_blocks(
        [(torch.arange(len(distances)), distances)], GroundTruth(query_ids, gallery_ids), ScoreSettings(**choices)
    )


def test_scores_of_lists_worked_out_by_hand():
    found = score(DISTANCES, ["a"], GALLERY)
    assert found["P@10"] == percent(Fraction(2, 10))
    assert found["R@10"] == percent(Fraction(2, 3))
    assert found["R-precision"] == percent(Fraction(2, 3))  # among the first three
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert found["nDCG"] == percent((1 + 1 / log2(4) + 1 / log2(13)) / ideal)
    assert found["nDCG@10"] == percent((1 + 1 / log2(4)) / ideal)
    two = score(DISTANCES, ["a"], GALLERY, top_k=2)
    assert (two["P@2"], two["R@2"]) == (percent(Fraction(1, 2)), percent(Fraction(1, 3)))
    assert two["nDCG@2"] == percent(1 / (1 + 1 / log2(3)))


@pytest.mark.parametrize(("normaliser", "divisor"), [("min", 2), ("relevant", 3), ("found", 1)])
def test_mean_precision_at_k_divides_by_what_was_chosen(normaliser, divisor):
    found = score(DISTANCES, ["a"], GALLERY, top_k=2, normalizer=normaliser)
    assert found["mAP@2"] == percent(Fraction(1, divisor))
    late = score(DISTANCES, ["j"], list("aaaaaaaaaaaj"), top_k=2, normalizer=normaliser)
    assert late["mAP@2"] == 0


def test_people_search_for_patents_and_one_is_right():
    # Drawings 0.1 b, 0.2 c, 0.3 a, 0.35 a, 0.9 b: nearest first b, c, a; in the mean c (.2), a (.325), b (.5).
    distances, gallery = torch.tensor([[0.1, 0.2, 0.3, 0.35, 0.9]]), ["b", "c", "a", "a", "b"]
    best, mean = (score(distances, ["a"], gallery, patent_distance=way) for way in ("best", "mean"))
    assert (best["patent/mAP"], mean["patent/mAP"]) == (percent(Fraction(1, 3)), percent(Fraction(1, 2)))
    assert (best["patent/Rank-1"], best["patent/Rank-5"]) == (0, 100)


@pytest.mark.parametrize("way", ["best", "mean"])
def test_patents_equally_near_stand_in_order_of_their_first_rows(way):
    places = [score(torch.zeros(1, 3), [mine], ["b", "a", "b"], patent_distance=way)["patent/mAP"] for mine in "ba"]
    assert places == [percent(Fraction(1, 1)), percent(Fraction(1, 2))]


def test_drawings_of_unknown_patents_are_patents_of_their_own():
    assert score(torch.arange(4.0)[None], ["a"], ["", "", "", "a"])["patent/mAP"] == percent(Fraction(1, 4))


def patent_places(distances, query_ids, gallery_ids, own_rows, way):
    """Places of the right patents in plain loops."""
    places = []
    for row, (mine, own) in enumerate(zip(query_ids, own_rows)):
        of_patent = {}
        for column, patent in enumerate(gallery_ids):
            if column != own:
                of_patent.setdefault(patent, []).append((float(distances[row, column]), column))
        if way == "best":
            keys = {patent: min(pairs) for patent, pairs in of_patent.items()}
        else:
            first = {patent: list(gallery_ids).index(patent) for patent in of_patent}
            keys = {
                patent: (sum(np.float64(np.float32(d)) for d, _ in pairs) / len(pairs), first[patent])
                for patent, pairs in of_patent.items()
            }
        places.append(1 + sum(key < keys[mine] for key in keys.values()) if mine in keys else None)
    return places


@pytest.mark.parametrize("way", ["best", "mean"])
def test_places_of_patents_are_those_of_plain_loops(way):
    distances, query_ids, gallery_ids = random_case()
    own_rows = np.arange(40) % 7 * 40 - 1
    found = score_distance_blocks(
        [(torch.arange(40), distances)],
        GroundTruth(query_ids, gallery_ids, self_rows=own_rows),
        ScoreSettings(patent_distance=way),
    )
    wanted = [100 / place for place in patent_places(distances, query_ids, gallery_ids, own_rows, way)]
    np.testing.assert_allclose(found.values["patent/mAP"], wanted, rtol=1e-12)


@pytest.mark.parametrize("way", ["best", "mean"])
def test_distances_stay_as_they_came(way):
    distances = torch.tensor([[0.5, 0.3, 0.1]])  # one query: its transpose would be the same memory
    found = score(distances, ["a"], ["a", "b", "a"], self_rows=[2], patent_distance=way, roc=True)
    assert distances.tolist() == torch.tensor([[0.5, 0.3, 0.1]]).tolist()
    assert found["patent/mAP"] == percent(Fraction(1, 2))


@pytest.mark.parametrize("way", ["best", "mean"])
def test_a_patent_of_thousands_of_drawings_beside_patents_of_one_scores_as_by_plain_loops(way):
    distances = torch.rand(3, 3200, generator=torch.Generator().manual_seed(0))
    query_ids, gallery_ids = np.array([0, 5, 9]), np.concatenate([np.zeros(3000, dtype=int), np.arange(1, 201)])
    found = judged(distances, query_ids, gallery_ids, patent_distance=way)
    wanted = [100 / place for place in patent_places(distances, query_ids, gallery_ids, [-1] * 3, way)]
    np.testing.assert_allclose(found.values["patent/mAP"], wanted, rtol=1e-12)
    assert found.num_matches.tolist() == [3000, 1, 1]
    order = metrics.average_precision_score(gallery_ids == 0, -distances[0].numpy())
    assert found.values["mAP"][0] == pytest.approx(100 * order, rel=1e-9)


@pytest.mark.parametrize("way", ["best", "mean"])
def test_scores_are_the_same_with_and_without_the_built_ranker(way, monkeypatch):
    distances, query_ids, gallery_ids = random_case()
    built = judged(distances, query_ids, gallery_ids, patent_distance=way, roc=True)
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.scoring.rank_cy", None)
    assert judged(distances, query_ids, gallery_ids, patent_distance=way, roc=True).means() == built.means()


def test_gains_agree_with_another_library():
    distances, query_ids, gallery_ids = random_case()
    distances += 1e-4 * torch.arange(300)  # no ties, so that both mean the same
    right = query_ids[:, None] == gallery_ids
    for k, name in ((None, "nDCG"), (10, "nDCG@10")):
        wanted = metrics.ndcg_score(right, -distances.numpy(), k=k)
        assert score(distances, query_ids, gallery_ids)[name] == pytest.approx(100 * wanted, rel=1e-9)


def test_blocks_in_any_order_and_size_give_the_same_scores_to_the_last_bit():
    distances, query_ids, gallery_ids = random_case()
    truth, order = GroundTruth(query_ids, gallery_ids), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    whole = judged(distances, query_ids, gallery_ids, roc=True)
    parts = score_distance_blocks([(rows, distances[rows]) for rows in order.split(7)], truth, ScoreSettings(roc=True))
    assert whole.means() == parts.means()
    for name in whole.values:
        np.testing.assert_array_equal(whole.values[name], parts.values[name])


def test_a_query_that_comes_twice_or_never_is_refused():
    distances, query_ids, gallery_ids = random_case()
    for rows in (torch.arange(39), torch.arange(40) % 39):
        with pytest.raises(InputError, match=r"came [02] times; each of 40 comes once"):
            score_distance_blocks([(rows, distances[rows])], GroundTruth(query_ids, gallery_ids), ScoreSettings())


@pytest.mark.parametrize(
    ("rows", "distances", "words"),
    [
        ([0, 1], torch.zeros(2, 3), r"to 2 drawings are floats \(2, 2\), not torch.float32 \(2, 3\)"),
        ([0], torch.zeros(2, 2), r"of 1 queries to 2 drawings are floats \(1, 2\)"),
        ([0, 1], torch.zeros(2, 2, dtype=torch.int64), "not torch.int64"),
        ([0, 2], torch.zeros(2, 2), "a block holds query 2, but there are 2 query ids"),
        ([1, -1], torch.zeros(2, 2), "a block holds query -1, but there are 2 query ids"),
    ],
)
def test_blocks_that_do_not_fit_the_truth_are_refused(rows, distances, words):
    with pytest.raises(InputError, match=words):
        score_distance_blocks([(torch.tensor(rows), distances)], GroundTruth(["a", "b"], ["a", "b"]), ScoreSettings())


def test_a_short_ranking_tells_the_ranks_of_patents_it_holds_enough_of():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(30, 8, generator=generator), torch.randn(200, 8, generator=generator)
    ids = torch.arange(200) % 60
    whole = score(nearest(queries, gallery, 200), ids[:30], ids)
    short = score(nearest(queries, gallery, 12), ids[:30], ids)
    told = [name for name in short if name.startswith("patent/")]
    assert "patent/Rank-5" in told
    assert all(short[name] == whole[name] for name in told)


def test_intervals_are_those_of_drawing_whole_patents_again_and_again():
    distances, query_ids, gallery_ids = random_case(num_queries=30, num_ids=8)
    found = judged(distances, query_ids, gallery_ids)
    generator, means = keyed_generator("bootstrap", 3), []
    patents = np.unique(query_ids)
    for times in generator.integers(0, len(patents), (200, len(patents))):
        drawn = np.concatenate([found.values["mAP"][query_ids == patents[number]] for number in times])
        means.append(drawn.mean())
    wanted = np.quantile(means, [0.05, 0.95])
    assert found.intervals(0.9, num_resamples=200, seed=3)["mAP"] == pytest.approx(tuple(wanted), rel=1e-9)


def test_draws_of_many_patents_come_a_few_at_a_time_and_are_the_same(monkeypatch):
    found = judged(*random_case())
    together = found.intervals(num_resamples=50)
    monkeypatch.setattr(bootstrap, "_MAX_CHUNK_SAMPLES", 1)
    assert found.intervals(num_resamples=50)["nDCG"] == pytest.approx(together["nDCG"], rel=1e-12)


def test_more_patents_give_narrower_intervals_and_one_patent_gives_none():
    def width(num_queries, num_ids):
        low, high = judged(*random_case(num_queries, num_ids=num_ids)).intervals()["mAP"]
        return high - low

    assert width(400, 100) < 0.8 * width(40, 20)
    distances, _, _ = random_case()
    assert judged(distances, ["a"] * 40, ["a"] * 100 + ["b"] * 200).intervals()["mAP"][0] == pytest.approx(
        judged(distances, ["a"] * 40, ["a"] * 100 + ["b"] * 200).means()["mAP"]
    )


def test_two_runs_are_compared_on_the_same_draws():
    distances, query_ids, gallery_ids = random_case()
    first = judged(distances, query_ids, gallery_ids)
    better = judged(distances - 0.2 * (torch.from_numpy(query_ids[:, None] == gallery_ids)), query_ids, gallery_ids)
    assert set(first.difference(first).values()) == {(0.0, 0.0)}
    low, high = better.difference(first)["mAP"]
    assert 0 < low < better.means()["mAP"] - first.means()["mAP"] < high
    with pytest.raises(InputError, match="scores of other queries or another gallery do not compare"):
        first.difference(judged(distances[:20], query_ids[:20], gallery_ids))


@pytest.mark.parametrize(
    ("level", "num_draws", "words"), [(1.0, 10, "level is a share"), (0.5, 0, "num_draws must be an integer")]
)
def test_intervals_that_mean_nothing_are_refused(level, num_draws, words):
    with pytest.raises(InputError, match=words):
        judged(*random_case()).intervals(level, num_resamples=num_draws)


def test_a_row_that_does_not_count_is_no_patent_of_a_short_ranking():
    ranking = Ranking(torch.tensor([[2, 1, 0]]), torch.arange(3.0)[None])
    assert score(ranking, ["a"], list("bacdefgh"), self_rows=[2])["patent/Rank-1"] == 100


def test_wrong_pairs_are_those_neither_right_nor_left_out():
    truth = GroundTruth(["a", "a", "x"], ["a", "b", "c"], self_rows=[1, 0, -1])  # wrong: c; b and c; all three
    assert truth.num_wrong_pairs() == 6


@pytest.mark.parametrize("cameras", [False, True])
def test_as_many_matches_are_counted_as_a_look_at_every_row_finds(cameras, monkeypatch):
    monkeypatch.setattr("fastreid.evaluation.scoring.ground_truth._MAX_CHUNK_ENTRIES", 30)  # a few queries at a time
    _, query_ids, gallery_ids = random_case()
    sides = {"query_cameras": np.arange(40) % 3, "gallery_cameras": np.arange(300) % 3} if cameras else {}
    truth = GroundTruth(query_ids, gallery_ids, self_rows=np.arange(40) * 7 - 1, **sides)
    matches, _ = truth.judge(np.arange(40), np.tile(np.arange(300), (40, 1)))
    assert truth.num_matches(np.arange(40)).tolist() == matches.sum(axis=1).tolist()
    assert truth.num_matches(np.array([7, 3])).tolist() == matches.sum(axis=1)[[7, 3]].tolist()


def test_a_short_ranking_beside_a_patent_of_thousands_of_drawings_stays_small():
    truth = GroundTruth(np.arange(2000) % 10, np.repeat(np.arange(10), 3000))
    tracemalloc.start()
    score_topk(np.tile(np.arange(10), (2000, 1)), truth, ScoreSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # one word for each query and each drawing of its patent is 46 MiB


def test_the_scores_one_may_choose_by_are_those_of_a_whole_ranking():
    found = judged(*random_case(), top_k=3, roc=True).means()
    assert (*score_names(top_k=3, roc=True), "num_queries", "num_without_match") == tuple(found)
