import sys
import tracemalloc
from fractions import Fraction
from math import log2

import numpy as np
import pytest
import torch
from sklearn import metrics

from fastreid.evaluation import GroundTruth, ScoreSettings, nearest, score
from fastreid.evaluation.scoring import bootstrap
from fastreid.evaluation.scoring.metrics import score_names
from fastreid.evaluation.scoring.score_queries import score_distance_blocks, score_topk
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

# One query, with the gallery rows in ranking order; its matches have ranks 1, 3 and 12 of 12.
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


def compute_scores(distances, query_ids, gallery_ids, **options):
    return score_distance_blocks(
        [(torch.arange(len(distances)), distances)], GroundTruth(query_ids, gallery_ids), ScoreSettings(**options)
    )


def test_list_scores_equal_hand_computed_values():
    scores = score(DISTANCES, ["a"], GALLERY)
    assert scores["P@10"] == percent(Fraction(2, 10))
    assert scores["R@10"] == percent(Fraction(2, 3))
    assert scores["R-precision"] == percent(Fraction(2, 3))  # among the first three
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert scores["nDCG"] == percent((1 + 1 / log2(4) + 1 / log2(13)) / ideal)
    assert scores["nDCG@10"] == percent((1 + 1 / log2(4)) / ideal)
    two = score(DISTANCES, ["a"], GALLERY, top_k=2)
    assert (two["P@2"], two["R@2"]) == (percent(Fraction(1, 2)), percent(Fraction(1, 3)))
    assert two["nDCG@2"] == percent(1 / (1 + 1 / log2(3)))


@pytest.mark.parametrize(("k", "num_hits"), [(1, 1), (2, 1), (3, 2), (11, 2), (12, 3)])
def test_match_at_rank_k_counts_and_at_rank_k_plus_one_does_not(k, num_hits):
    scores = score(DISTANCES, ["a"], GALLERY, top_k=k)
    ranks = (1, 3, 12)[:num_hits]
    assert scores[f"P@{k}"] == percent(Fraction(num_hits, k))
    assert scores[f"R@{k}"] == percent(Fraction(num_hits, 3))
    precisions = [Fraction(position, rank) for position, rank in enumerate(ranks, 1)]
    assert scores[f"mAP@{k}"] == percent(sum(precisions) / min(3, k))
    ideal = sum(1 / log2(1 + rank) for rank in range(1, min(3, k) + 1))
    assert scores[f"nDCG@{k}"] == percent(sum(1 / log2(1 + rank) for rank in ranks) / ideal)


@pytest.mark.parametrize("rank", [1, 2, 5, 6, 10, 11])
def test_rank_scores_at_their_boundaries(rank):
    gallery = [f"other {row}" for row in range(12)]
    gallery[rank - 1] = "a"
    scores = score(DISTANCES, ["a"], gallery)
    for r in (1, 5, 10):
        assert scores[f"Rank-{r}"] == scores[f"patent/Rank-{r}"] == 100 * (rank <= r)


@pytest.mark.parametrize(("normalizer", "divisor"), [("min", 2), ("relevant", 3), ("found", 1)])
def test_map_at_k_divides_by_the_chosen_normalizer(normalizer, divisor):
    scores = score(DISTANCES, ["a"], GALLERY, top_k=2, normalizer=normalizer)
    assert scores["mAP@2"] == percent(Fraction(1, divisor))
    late = score(DISTANCES, ["j"], list("aaaaaaaaaaaj"), top_k=2, normalizer=normalizer)
    assert late["mAP@2"] == 0


def test_patent_scores_equal_hand_computed_values():
    # Drawings 0.1 b, 0.2 c, 0.3 a, 0.35 a, 0.9 b: by the nearest drawing b, c, a; by the mean c .2, a .325, b .5.
    distances, gallery = torch.tensor([[0.1, 0.2, 0.3, 0.35, 0.9]]), ["b", "c", "a", "a", "b"]
    best, mean = (
        score(distances, ["a"], gallery, patent_distance=patent_distance) for patent_distance in ("best", "mean")
    )
    assert (best["patent/mAP"], mean["patent/mAP"]) == (percent(Fraction(1, 3)), percent(Fraction(1, 2)))
    assert (best["patent/Rank-1"], best["patent/Rank-5"]) == (0, 100)


@pytest.mark.parametrize("patent_distance", ["best", "mean"])
def test_tied_patents_rank_by_their_first_row(patent_distance):
    scores = [
        score(torch.zeros(1, 3), [patent], ["b", "a", "b"], patent_distance=patent_distance)["patent/mAP"]
        for patent in "ba"
    ]
    assert scores == [percent(Fraction(1, 1)), percent(Fraction(1, 2))]


def test_drawings_of_unknown_patents_count_as_separate_patents():
    assert score(torch.arange(4.0)[None], ["a"], ["", "", "", "a"])["patent/mAP"] == percent(Fraction(1, 4))


def patent_ranks(distances, query_ids, gallery_ids, self_rows, patent_distance):
    """Return the ranks of the correct patents, computed in plain loops."""
    ranks = []
    for row, (query_patent, self_row) in enumerate(zip(query_ids, self_rows)):
        pairs_of_patent = {}
        for column, patent in enumerate(gallery_ids):
            if column != self_row:
                pairs_of_patent.setdefault(patent, []).append((float(distances[row, column]), column))
        if patent_distance == "best":
            keys = {patent: min(pairs) for patent, pairs in pairs_of_patent.items()}
        else:
            first = {patent: list(gallery_ids).index(patent) for patent in pairs_of_patent}
            keys = {
                patent: (sum(np.float64(np.float32(d)) for d, _ in pairs) / len(pairs), first[patent])
                for patent, pairs in pairs_of_patent.items()
            }
        is_ranked = query_patent in keys
        ranks.append(1 + sum(key < keys[query_patent] for key in keys.values()) if is_ranked else None)
    return ranks


@pytest.mark.parametrize("patent_distance", ["best", "mean"])
def test_patent_ranks_equal_plain_loops(patent_distance):
    distances, query_ids, gallery_ids = random_case()
    self_rows = np.arange(40) % 7 * 40 - 1
    scores = score_distance_blocks(
        [(torch.arange(40), distances)],
        GroundTruth(query_ids, gallery_ids, self_rows=self_rows),
        ScoreSettings(patent_distance=patent_distance),
    )
    expected = [100 / rank for rank in patent_ranks(distances, query_ids, gallery_ids, self_rows, patent_distance)]
    np.testing.assert_allclose(scores.values["patent/mAP"], expected, rtol=1e-12)


@pytest.mark.parametrize("patent_distance", ["best", "mean"])
def test_distances_are_not_modified(patent_distance):
    distances = torch.tensor([[0.5, 0.3, 0.1]])  # one query: its transpose could share its memory
    scores = score(distances, ["a"], ["a", "b", "a"], self_rows=[2], patent_distance=patent_distance, roc=True)
    assert distances.tolist() == torch.tensor([[0.5, 0.3, 0.1]]).tolist()
    assert scores["patent/mAP"] == percent(Fraction(1, 2))


@pytest.mark.parametrize("patent_distance", ["best", "mean"])
def test_patents_of_very_different_sizes_equal_plain_loops(patent_distance):
    distances = torch.rand(3, 3200, generator=torch.Generator().manual_seed(0))
    query_ids, gallery_ids = np.array([0, 5, 9]), np.concatenate([np.zeros(3000, dtype=int), np.arange(1, 201)])
    scores = compute_scores(distances, query_ids, gallery_ids, patent_distance=patent_distance)
    expected = [100 / rank for rank in patent_ranks(distances, query_ids, gallery_ids, [-1] * 3, patent_distance)]
    np.testing.assert_allclose(scores.values["patent/mAP"], expected, rtol=1e-12)
    assert scores.num_matches.tolist() == [3000, 1, 1]
    average_precision = metrics.average_precision_score(gallery_ids == 0, -distances[0].numpy())
    assert scores.values["mAP"][0] == pytest.approx(100 * average_precision, rel=1e-9)


@pytest.mark.parametrize("patent_distance", ["best", "mean"])
def test_scores_are_equal_with_and_without_cython(patent_distance, monkeypatch):
    distances, query_ids, gallery_ids = random_case()
    compiled = compute_scores(distances, query_ids, gallery_ids, patent_distance=patent_distance, roc=True)
    monkeypatch.setitem(sys.modules, "fastreid.evaluation.scoring.rank_cy", None)
    assert (
        compute_scores(distances, query_ids, gallery_ids, patent_distance=patent_distance, roc=True).means()
        == compiled.means()
    )


def test_ndcg_equals_scikit_learn():
    distances, query_ids, gallery_ids = random_case()
    distances += 1e-4 * torch.arange(300)  # no ties, so the definitions agree
    is_match = query_ids[:, None] == gallery_ids
    for k, name in ((None, "nDCG"), (10, "nDCG@10")):
        expected = metrics.ndcg_score(is_match, -distances.numpy(), k=k)
        assert score(distances, query_ids, gallery_ids)[name] == pytest.approx(100 * expected, rel=1e-9)


def test_scores_do_not_depend_on_block_order_or_size():
    distances, query_ids, gallery_ids = random_case()
    truth, order = GroundTruth(query_ids, gallery_ids), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    whole = compute_scores(distances, query_ids, gallery_ids, roc=True)
    parts = score_distance_blocks([(rows, distances[rows]) for rows in order.split(7)], truth, ScoreSettings(roc=True))
    assert whole.means() == parts.means()
    for name in whole.values:
        np.testing.assert_array_equal(whole.values[name], parts.values[name])


def test_repeated_or_missing_queries_raise():
    distances, query_ids, gallery_ids = random_case()
    for rows in (torch.arange(39), torch.arange(40) % 39):
        with pytest.raises(
            InputError, match=r"contain query [0-9]+ [02] times; each of the 40 queries must occur once"
        ):
            score_distance_blocks([(rows, distances[rows])], GroundTruth(query_ids, gallery_ids), ScoreSettings())


@pytest.mark.parametrize(
    ("rows", "distances", "message"),
    [
        ([0, 1], torch.zeros(2, 3), r"to 2 drawings must be floats \(2, 2\), not torch.float32 \(2, 3\)"),
        ([0], torch.zeros(2, 2), r"of 1 queries to 2 drawings must be floats \(1, 2\)"),
        ([0, 1], torch.zeros(2, 2, dtype=torch.int64), "not torch.int64"),
        ([0, 2], torch.zeros(2, 2), "a block contains query 2, but there are 2 query ids"),
        ([1, -1], torch.zeros(2, 2), "a block contains query -1, but there are 2 query ids"),
    ],
)
def test_blocks_that_do_not_match_the_ground_truth_raise(rows, distances, message):
    with pytest.raises(InputError, match=message):
        score_distance_blocks([(torch.tensor(rows), distances)], GroundTruth(["a", "b"], ["a", "b"]), ScoreSettings())


def test_short_ranking_gives_exact_patent_ranks_only():
    generator = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(30, 8, generator=generator), torch.randn(200, 8, generator=generator)
    ids = torch.arange(200) % 60
    full = score(nearest(queries, gallery, 200), ids[:30], ids)
    short = score(nearest(queries, gallery, 12), ids[:30], ids)
    patent_scores = [name for name in short if name.startswith("patent/")]
    assert "patent/Rank-5" in patent_scores
    assert all(short[name] == full[name] for name in patent_scores)


def test_intervals_equal_resampling_patents_in_a_loop():
    distances, query_ids, gallery_ids = random_case(num_queries=30, num_ids=8)
    scores = compute_scores(distances, query_ids, gallery_ids)
    generator, means = keyed_generator("bootstrap", 3), []
    patents = np.unique(query_ids)
    for indices in generator.integers(0, len(patents), (200, len(patents))):
        sample = np.concatenate([scores.values["mAP"][query_ids == patents[index]] for index in indices])
        means.append(sample.mean())
    expected = np.quantile(means, [0.05, 0.95])
    assert scores.intervals(0.9, num_resamples=200, seed=3)["mAP"] == pytest.approx(tuple(expected), rel=1e-9)


def test_intervals_do_not_depend_on_the_chunk_size(monkeypatch):
    scores = compute_scores(*random_case())
    together = scores.intervals(num_resamples=50)
    monkeypatch.setattr(bootstrap, "_MAX_CHUNK_SAMPLES", 1)
    assert scores.intervals(num_resamples=50)["nDCG"] == pytest.approx(together["nDCG"], rel=1e-12)


def test_interval_narrows_with_patents_and_is_empty_for_one():
    def width(num_queries, num_ids):
        low, high = compute_scores(*random_case(num_queries, num_ids=num_ids)).intervals()["mAP"]
        return high - low

    assert width(400, 100) < 0.8 * width(40, 20)
    distances, _, _ = random_case()
    assert compute_scores(distances, ["a"] * 40, ["a"] * 100 + ["b"] * 200).intervals()["mAP"][0] == pytest.approx(
        compute_scores(distances, ["a"] * 40, ["a"] * 100 + ["b"] * 200).means()["mAP"]
    )


def test_difference_uses_the_same_resamples_for_both_runs():
    distances, query_ids, gallery_ids = random_case()
    first = compute_scores(distances, query_ids, gallery_ids)
    better = compute_scores(
        distances - 0.2 * (torch.from_numpy(query_ids[:, None] == gallery_ids)), query_ids, gallery_ids
    )
    assert set(first.difference(first).values()) == {(0.0, 0.0)}
    low, high = better.difference(first)["mAP"]
    assert 0 < low < better.means()["mAP"] - first.means()["mAP"] < high
    with pytest.raises(InputError, match="scores of different queries or galleries cannot be compared"):
        first.difference(compute_scores(distances[:20], query_ids[:20], gallery_ids))


@pytest.mark.parametrize(
    ("level", "num_resamples", "message"),
    [(1.0, 10, "level must be between 0 and 1"), (0.5, 0, "num_resamples must be an integer")],
)
def test_invalid_interval_options_raise(level, num_resamples, message):
    with pytest.raises(InputError, match=message):
        compute_scores(*random_case()).intervals(level, num_resamples=num_resamples)


def test_ignored_row_is_not_a_patent_of_a_short_ranking():
    ranking = Ranking(torch.tensor([[2, 1, 0]]), torch.arange(3.0)[None])
    assert score(ranking, ["a"], list("bacdefgh"), self_rows=[2])["patent/Rank-1"] == 100


@pytest.mark.parametrize(("num_patents", "is_exact"), [(4, False), (5, True)])
def test_short_ranking_of_r_patents_gives_patent_rank_r(num_patents, is_exact):
    ranking = Ranking(torch.arange(num_patents)[None], torch.arange(float(num_patents))[None])
    assert ("patent/Rank-5" in score(ranking, ["i"], list("abcdefghi"))) == is_exact


def test_negative_pairs_are_neither_matches_nor_ignored():
    truth = GroundTruth(["a", "a", "x"], ["a", "b", "c"], self_rows=[1, 0, -1])  # negatives: c; b and c; all three
    assert truth.count_negative_pairs() == 6


@pytest.mark.parametrize("cameras", [False, True])
def test_match_counts_equal_classifying_every_row(cameras, monkeypatch):
    monkeypatch.setattr("fastreid.evaluation.scoring.ground_truth._MAX_CHUNK_ENTRIES", 30)  # a few queries per chunk
    _, query_ids, gallery_ids = random_case()
    sides = {"query_cameras": np.arange(40) % 3, "gallery_cameras": np.arange(300) % 3} if cameras else {}
    truth = GroundTruth(query_ids, gallery_ids, self_rows=np.arange(40) * 7 - 1, **sides)
    matches, _ = truth.classify_rows(np.arange(40), np.tile(np.arange(300), (40, 1)))
    assert truth.count_matches(np.arange(40)).tolist() == matches.sum(axis=1).tolist()
    assert truth.count_matches(np.array([7, 3])).tolist() == matches.sum(axis=1)[[7, 3]].tolist()


def test_short_ranking_of_large_patents_needs_little_memory():
    truth = GroundTruth(np.arange(2000) % 10, np.repeat(np.arange(10), 3000))
    tracemalloc.start()
    score_topk(np.tile(np.arange(10), (2000, 1)), truth, ScoreSettings())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # 8 bytes per query and drawing of its patent are 46 MiB


def test_score_names_are_those_of_a_full_ranking():
    scores = compute_scores(*random_case(), top_k=3, roc=True).means()
    assert (*score_names(top_k=3, roc=True), "num_queries", "num_without_match") == tuple(scores)
