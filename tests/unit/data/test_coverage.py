"""What a sampler shows of a list."""

import lzma
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from fastreid.data.samplers.complete import CompleteIdentitySampler
from fastreid.data.samplers.coverage import MOST_BATCHES, measure
from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import TrainingSampler

LIST = Path(__file__).parents[4] / "shared/data/deeppatent_lists/train_patent_val.txt.xz"


class Given:
    """A sampler that gives the same batches again and again."""

    def __init__(self, *batches):
        self.given = batches

    def batches(self, start_iteration=0):
        return islice(cycle(self.given), start_iteration, None)


def test_the_shares_are_those_of_the_batches_one_can_count():
    targets = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3]  # three batches of four
    sampler = Given([0, 1, 2, 3], [0, 0, 7, 8], [4, 5, 6, 9])
    shown = measure(sampler, targets, batch_size=4, num_instance=3)
    assert (shown.num_batches, shown.distinct, shown.seen) == (3, 11 / 12, 10 / 12)
    assert (shown.patents, shown.paired, shown.complete) == (5 / 3, 9 / 11, 7 / 11)
    assert shown.cut == 2 / 5  # 0 in the second and 3 in the third; 2 is whole with two


def test_all_but_the_share_of_the_list_is_measured_on_the_first_batches():
    num = 2 * MOST_BATCHES
    first_then_others = Given(*([row, row] for row in range(MOST_BATCHES)), *([row, row + 1] for row in range(num)))
    shown = measure(first_then_others, list(range(2 * num)), batch_size=2, num_instance=1)
    assert (shown.num_batches, shown.distinct, shown.seen) == (num, 1 / 2, (MOST_BATCHES + 1) / (2 * num))


def test_the_line_tells_all_of_it():
    line = str(measure(Given([0, 0], [1, 2]), [0, 0, 1, 1], batch_size=2, num_instance=2))
    assert "75% of a batch are distinct drawings, of 1.5 patents; 0% of them" in line
    assert "100.00% of its patents are cut below 2 drawings; an epoch of 2 batches shows 75.0% of the list" in line


@pytest.fixture(scope="module")
def deeppatent():
    if not LIST.is_file():
        pytest.skip("DeepPatent's lists are not beside this checkout (../shared/data)")
    with lzma.open(LIST, "rt", encoding="utf-8") as lines:
        ids = [int(line.rsplit(None, 1)[1]) for line in lines]
    return np.unique(ids, return_inverse=True)[1].tolist()


@pytest.mark.parametrize(
    ("kind", "num_instance", "distinct", "seen"),
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
def test_deeppatent_s_drawings_come_as_docs_data_says(deeppatent, kind, num_instance, distinct, seen):
    sampler = kind(deeppatent, batch_size=128, num_instance=num_instance, seed=0)
    shown = measure(sampler, deeppatent, batch_size=128, num_instance=num_instance)
    assert (round(shown.distinct, 2), round(shown.seen, 2)) == (distinct, seen)
    assert shown.paired == 1
    assert shown.cut == 0


def test_a_stream_without_groups_has_all_drawings_and_hardly_a_pair(deeppatent):
    shown = measure(
        TrainingSampler(len(deeppatent), batch_size=128, seed=0), deeppatent, batch_size=128, num_instance=4
    )
    assert (shown.distinct, round(shown.seen, 2), round(shown.paired, 2)) == (1, 1, 0.03)


def test_the_balanced_share_is_what_the_counts_of_the_list_foretell(deeppatent):
    for num_instance in (4, 8, 16):
        foretold = np.minimum(np.bincount(deeppatent), num_instance).mean() / num_instance
        sampler = BalancedIdentitySampler(deeppatent, batch_size=128, num_instance=num_instance, seed=0)
        shown = measure(sampler, deeppatent, batch_size=128, num_instance=num_instance)
        assert shown.distinct == pytest.approx(foretold, abs=0.005)


@pytest.mark.parametrize("batch_size", [32, 128])
def test_no_group_of_deeppatent_is_cut_for_three_rounds(deeppatent, batch_size):
    targets, counts = np.asarray(deeppatent), np.bincount(deeppatent)
    sampler = CompleteIdentitySampler(deeppatent, batch_size=batch_size, num_instance=4, seed=0)
    for batch in islice(sampler.batches(), 3 * len(targets) // batch_size):
        patents, sizes = np.unique(targets[np.array(batch)], return_counts=True)
        assert (sizes >= np.minimum(counts[patents], 4)).all()
        assert (sizes <= 7).all()
