import lzma
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from fastreid.data.samplers.complete import CompleteIdentitySampler
from fastreid.data.samplers.coverage import MAX_BATCHES, measure_coverage
from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import TrainingSampler

LIST = Path(__file__).parents[4] / "shared/data/deeppatent_lists/train_patent_val.txt.xz"


class FixedSampler:
    """A sampler that repeats the same batches."""

    def __init__(self, *batches):
        self.fixed_batches = batches

    def batches(self, start_iteration=0):
        return islice(cycle(self.fixed_batches), start_iteration, None)


def test_coverage_of_a_small_example():
    targets = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]  # three batches of four
    sampler = FixedSampler([0, 1, 2, 3], [0, 0, 7, 8], [4, 5, 6, 9])
    coverage = measure_coverage(sampler, targets, batch_size=4, num_instance=3)
    assert (coverage.num_batches, coverage.distinct_ratio, coverage.seen_ratio) == (3, 11 / 12, 10 / 12)
    assert (coverage.identities_per_batch, coverage.paired_ratio, coverage.complete_ratio) == (5 / 3, 9 / 11, 7 / 11)
    assert coverage.cut_ratio == 2 / 5  # patent 0 in the second batch, 3 in the third; 2 has only two drawings


def test_only_seen_ratio_uses_the_whole_epoch():
    num = 2 * MAX_BATCHES
    sampler = FixedSampler(*([row, row] for row in range(MAX_BATCHES)), *([row, row + 1] for row in range(num)))
    coverage = measure_coverage(sampler, list(range(2 * num)), batch_size=2, num_instance=1)
    assert (coverage.num_batches, coverage.distinct_ratio, coverage.seen_ratio) == (
        num,
        1 / 2,
        (MAX_BATCHES + 1) / (2 * num),
    )


def test_str_contains_all_values():
    line = str(measure_coverage(FixedSampler([0, 0], [1, 2]), [0, 0, 1, 1], batch_size=2, num_instance=2))
    assert (
        "75% of a batch are distinct drawings, of 1.5 patents; 0% of them have another drawing of their patent" in line
    )
    assert "100.00% of the patents in a batch have fewer than 2 drawings in it although they have more" in line
    assert "an epoch of 2 batches covers 75.0% of the list" in line
    line = str(measure_coverage(FixedSampler([0, 1]), [0, 0], batch_size=2, num_instance=2))
    assert "an epoch of 1 batch covers 100.0% of the list" in line


@pytest.fixture(scope="module")
def deeppatent():
    if not LIST.is_file():
        pytest.skip("needs the DeepPatent lists in ../shared/data")
    with lzma.open(LIST, "rt", encoding="utf-8") as lines:
        ids = [int(line.rsplit(None, 1)[1]) for line in lines]
    return np.unique(ids, return_inverse=True)[1].tolist()


@pytest.mark.parametrize(
    ("sampler_class", "num_instance", "distinct", "seen"),
    [
        (BalancedIdentitySampler, 16, 0.46, 0.46),
        (BalancedIdentitySampler, 8, 0.81, 0.81),
        (BalancedIdentitySampler, 4, 0.97, 0.69),
        (NaiveIdentitySampler, 4, 0.98, 0.86),
        (CompleteIdentitySampler, 16, 1, 1),
        (CompleteIdentitySampler, 8, 1, 1),
        (CompleteIdentitySampler, 4, 1, 1),
    ],
)
def test_coverage_of_deeppatent_matches_docs(deeppatent, sampler_class, num_instance, distinct, seen):
    sampler = sampler_class(deeppatent, batch_size=128, num_instance=num_instance, seed=0)
    coverage = measure_coverage(sampler, deeppatent, batch_size=128, num_instance=num_instance)
    assert (round(coverage.distinct_ratio, 2), round(coverage.seen_ratio, 2)) == (distinct, seen)
    assert coverage.paired_ratio == 1
    assert coverage.cut_ratio == 0


def test_training_sampler_has_few_pairs(deeppatent):
    coverage = measure_coverage(
        TrainingSampler(len(deeppatent), batch_size=128, seed=0), deeppatent, batch_size=128, num_instance=4
    )
    assert (coverage.distinct_ratio, round(coverage.seen_ratio, 2), round(coverage.paired_ratio, 2)) == (1, 1, 0.03)


def test_balanced_sampler_coverage_matches_theory(deeppatent):
    for num_instance in (4, 8, 16):
        expected = np.minimum(np.bincount(deeppatent), num_instance).mean() / num_instance
        sampler = BalancedIdentitySampler(deeppatent, batch_size=128, num_instance=num_instance, seed=0)
        coverage = measure_coverage(sampler, deeppatent, batch_size=128, num_instance=num_instance)
        assert coverage.distinct_ratio == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("batch_size", [32, 128])
def test_no_deeppatent_group_is_cut_in_three_rounds(deeppatent, batch_size):
    targets, counts = np.asarray(deeppatent), np.bincount(deeppatent)
    sampler = CompleteIdentitySampler(deeppatent, batch_size=batch_size, num_instance=4, seed=0)
    for batch in islice(sampler.batches(), 3 * len(targets) // batch_size):
        patents, sizes = np.unique(targets[np.array(batch)], return_counts=True)
        assert (sizes >= np.minimum(counts[patents], 4)).all()
        assert (sizes <= 7).all()
