import numpy as np
import pytest

from fastreid.evaluation.scoring.comparison import compare_runs, build_comparison_table
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError

PATENTS = np.arange(60) // 3


def scores(values, patents=PATENTS, matches=2):
    return QueryScores(
        values={"mAP": np.asarray(values, float)},
        patents=patents,
        num_matches=np.full(len(patents), matches),
        first_ranks=np.ones(len(patents)),
        tpr_at_fpr={},
    )


def drawn(seed, shift=0.0, noise=5.0, num=1):
    """Runs whose queries are hard or easy alike, each run with some luck of its own."""
    generator = np.random.default_rng(seed)
    hardness = np.random.default_rng(0).uniform(0, 100, len(PATENTS))
    return [scores(hardness + shift + generator.normal(0, noise, len(PATENTS))) for _ in range(num)]


def test_the_change_is_the_mean_over_runs_and_queries():
    runs, ground = [scores(np.full(60, value)) for value in (50, 60)], [scores(np.full(60, 40)) for _ in range(2)]
    change = compare_runs(runs, ground)["mAP"]
    assert (change.mean, change.change) == (55, 15)
    assert change.spread == pytest.approx(np.std([50, 60], ddof=1))
    # two pairs that lie 10 apart: Student's t for one degree of freedom, 12.706, times 5
    assert (change.low, change.high) == (pytest.approx(15 - 63.53, abs=0.01), pytest.approx(15 + 63.53, abs=0.01))


def test_what_makes_a_patent_hard_for_both_falls_out():
    change = compare_runs(drawn(1, shift=4, num=3), drawn(2, num=3))["mAP"]
    assert 0 < change.low < 4 < change.high < 8  # the hardness of the patents spreads over 100 points


@pytest.mark.parametrize(
    ("num", "luck", "most"), [(2, 0, 0.05), (3, 0, 0.05), (2, 3, 0.15), (3, 3, 0.09), (6, 3, 0.08)]
)
def test_two_sides_that_differ_by_chance_alone_are_seldom_told_apart(num, luck, most):
    """By the noise of queries, and by the luck of a whole run, which no number of patents averages out."""
    generator = np.random.default_rng(0)
    misses = 0
    for seed in range(400):
        sides = [[scores(generator.normal(generator.normal(0, luck), 5, 60)) for _ in range(num)] for _ in range(2)]
        change = compare_runs(*sides, num_resamples=100, seed=seed)["mAP"]
        misses += not change.low <= 0 <= change.high
    assert misses <= most * 400


def test_patents_of_which_one_is_left_tell_nothing():
    change = compare_runs(*[[scores(np.arange(60), patents=np.zeros(60))]] * 2)["mAP"]
    assert (change.low, change.high) == (-np.inf, np.inf)


def test_runs_that_disagree_widen_the_interval():
    ground = [scores(np.full(60, 40.0))] * 3
    alike = compare_runs([scores(np.full(60, 45.0))] * 3, ground)["mAP"]
    apart = compare_runs([scores(np.full(60, value)) for value in (35.0, 45.0, 55.0)], ground)["mAP"]
    assert (alike.low, alike.high) == (5, 5)
    assert apart.low < 0 < apart.high


def test_one_run_has_no_spread():
    change = compare_runs(drawn(1), drawn(2))["mAP"]
    assert np.isnan(change.spread)
    [ground, row] = build_comparison_table({"ground": compare_runs(drawn(2), drawn(2)), "row": {"mAP": change}}, ["mAP"])
    assert ground["mAP, change"] == ""
    assert row == {
        "row": "row",
        "runs": "1",
        "mAP": f"{change.mean:.1f}",
        "mAP, change": f"{change.change:+.1f} [{change.low:+.1f}, {change.high:+.1f}]",
    }


@pytest.mark.parametrize(
    ("runs", "ground", "told"),
    [
        ([], [], "0 runs beside 0"),
        (drawn(1, num=2), drawn(2), "2 runs beside 1; each run needs the one of the same seed"),
        (drawn(1), [scores(np.zeros(60), patents=PATENTS[::-1])], "other queries or another gallery"),
        (drawn(1), [scores(np.zeros(60), matches=3)], "other queries or another gallery"),
    ],
)
def test_runs_that_do_not_compare_are_refused(runs, ground, told):
    with pytest.raises(InputError, match=told):
        compare_runs(runs, ground)
    with pytest.raises(InputError, match="level is a share"):
        compare_runs(drawn(1), drawn(2), level=95)
