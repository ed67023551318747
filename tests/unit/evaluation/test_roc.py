import numpy as np
import pytest
import torch

from fastreid.evaluation.scoring.roc import TprAtFpr

NONE = torch.empty(40, 0, dtype=torch.int64)


@pytest.mark.parametrize("hold", [1, 500, 10**9])
def test_pairs_that_come_block_by_block_give_the_rates_of_all_at_once(hold):
    generator = np.random.default_rng(0)
    right, wrong = generator.normal(size=(40, 12)), generator.normal(2, 1, size=(40, 500))
    distances = torch.from_numpy(np.concatenate([right, wrong], axis=1).round(2).astype(np.float32))
    matches = torch.arange(12).expand(40, 12)
    rates = TprAtFpr(wrong.size, hold=hold)
    for block in range(0, 40, 5):
        some = slice(block, block + 5)
        rates.add(distances[some], matches[some], NONE[some])
    nearest = np.sort(distances[:, 12:].numpy().ravel())
    wanted = [100 * (distances[:, :12].numpy() < nearest[allowed]).mean() for allowed in (2, 20, 200)]
    assert list(rates.rates().values()) == pytest.approx(wanted, rel=1e-12)
    assert len(set(wanted)) == 3


def test_pairs_that_do_not_count_are_neither_right_nor_wrong():
    distances = torch.tensor([[0.0, 0.5, 1.0], [0.4, 0.5, 0.1]])
    rates = TprAtFpr(2)
    rates.add(distances, torch.tensor([[1, -1], [0, 2]]), torch.tensor([[0], [-1]]))
    found = list(rates.rates().values())  # of the right pairs at 0.5, 0.4 and 0.1; the wrong ones are 1.0 and 0.5
    assert found == pytest.approx([200 / 3] * 3, rel=1e-12)


def test_without_a_wrong_pair_every_right_one_is_accepted():
    rates = TprAtFpr(0)
    rates.add(torch.ones(40, 1), torch.zeros(40, 1, dtype=torch.int64), NONE)
    assert set(rates.rates().values()) == {100.0}
