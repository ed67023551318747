import numpy as np
import pytest

from fastreid.evaluation.scoring.comparison import build_comparison_table, compare_runs
from fastreid.evaluation.scoring.per_query import QueryScores
from fastreid.utils.errors import InputError

PATENTS = np.arange(60) // 3


def make_scores(values, patents=PATENTS, matches=2):
    return QueryScores(
        values={"mAP": np.asarray(values, float)},
        patents=patents,
        num_matches=np.full(len(patents), matches),
        first_ranks=np.ones(len(patents)),
        tpr_at_fpr={},
    )


def sample_runs(seed, shift=0.0, noise=5.0, num=1):
    """Return runs in which the same queries are hard or easy, plus independent noise per run."""
    generator = np.random.default_rng(seed)
    hardness = np.random.default_rng(0).uniform(0, 100, len(PATENTS))
    return [make_scores(hardness + shift + generator.normal(0, noise, len(PATENTS))) for _ in range(num)]


def test_difference_is_mean_over_runs_and_queries():
    runs, baseline = (
        [make_scores(np.full(60, value)) for value in (50, 60)],
        [make_scores(np.full(60, 40)) for _ in range(2)],
    )
    delta = compare_runs(runs, baseline)["mAP"]
    assert (delta.mean, delta.difference) == (55, 15)
    assert delta.std == pytest.approx(np.std([50, 60], ddof=1))
    # two pairs with a difference of 10: Student's t for one degree of freedom, 12.706, times 5
    assert (delta.low, delta.high) == (pytest.approx(15 - 63.53, abs=0.01), pytest.approx(15 + 63.53, abs=0.01))


def test_shared_patent_hardness_cancels_out():
    delta = compare_runs(sample_runs(1, shift=4, num=3), sample_runs(2, num=3))["mAP"]
    assert 0 < delta.low < 4 < delta.high < 8  # patent hardness varies over 100 points


@pytest.mark.parametrize(
    ("num", "run_std", "max_error_rate"), [(2, 0, 0.05), (3, 0, 0.05), (2, 3, 0.15), (3, 3, 0.09), (6, 3, 0.08)]
)
def test_false_positive_rate_is_bounded(num, run_std, max_error_rate):
    """Noise of queries, and noise of whole runs, which more patents do not reduce."""
    generator = np.random.default_rng(0)
    misses = 0
    for seed in range(400):
        sides = [
            [make_scores(generator.normal(generator.normal(0, run_std), 5, 60)) for _ in range(num)] for _ in range(2)
        ]
        delta = compare_runs(*sides, num_resamples=100, seed=seed)["mAP"]
        misses += not delta.low <= 0 <= delta.high
    assert misses <= max_error_rate * 400


def test_interval_of_one_patent_is_infinite():
    delta = compare_runs(*[[make_scores(np.arange(60), patents=np.zeros(60))]] * 2)["mAP"]
    assert (delta.low, delta.high) == (-np.inf, np.inf)


def test_disagreeing_runs_widen_the_interval():
    baseline = [make_scores(np.full(60, 40.0))] * 3
    alike = compare_runs([make_scores(np.full(60, 45.0))] * 3, baseline)["mAP"]
    apart = compare_runs([make_scores(np.full(60, value)) for value in (35.0, 45.0, 55.0)], baseline)["mAP"]
    assert (alike.low, alike.high) == (5, 5)
    assert apart.low < 0 < apart.high


def test_one_run_has_no_standard_deviation():
    delta = compare_runs(sample_runs(1), sample_runs(2))["mAP"]
    assert np.isnan(delta.std)
    [baseline, row] = build_comparison_table(
        {"baseline": compare_runs(sample_runs(2), sample_runs(2)), "row": {"mAP": delta}}, ["mAP"]
    )
    assert baseline["mAP, change"] == ""
    assert row == {
        "row": "row",
        "runs": "1",
        "mAP": f"{delta.mean:.1f}",
        "mAP, change": f"{delta.difference:+.1f} [{delta.low:+.1f}, {delta.high:+.1f}]",
    }


@pytest.mark.parametrize(
    ("runs", "baseline", "message"),
    [
        ([], [], "0 runs and 0 baseline runs"),
        (
            sample_runs(1, num=2),
            sample_runs(2),
            "2 runs and 1 baseline runs do not pair up; give one baseline run of the same seed",
        ),
        (sample_runs(1), [make_scores(np.zeros(60), patents=PATENTS[::-1])], "different queries or galleries"),
        (sample_runs(1), [make_scores(np.zeros(60), matches=3)], "different queries or galleries"),
    ],
)
def test_mismatched_runs_raise(runs, baseline, message):
    with pytest.raises(InputError, match=message):
        compare_runs(runs, baseline)
    with pytest.raises(InputError, match="level must be between 0 and 1"):
        compare_runs(sample_runs(1), sample_runs(2), level=95)
