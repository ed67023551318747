import numpy as np
import pytest

from fastreid.evaluation.roc import AcceptRates


@pytest.mark.parametrize("hold", [1, 50, 10**9])
def test_pairs_that_come_bit_by_bit_give_the_rates_of_all_at_once(hold):
    generator = np.random.default_rng(0)
    right, wrong = generator.normal(size=500), generator.normal(2, 1, size=20_000)
    right, wrong = right.round(2).astype(np.float32), wrong.round(2).astype(np.float32)
    rates = AcceptRates(len(wrong), hold=hold)
    for some_right, some_wrong in zip(np.array_split(right, 40), np.array_split(wrong, 40)):
        rates.add(some_right, some_wrong)
    nearest = np.sort(wrong)
    wanted = [100 * (right < nearest[allowed]).mean() for allowed in (2, 20, 200)]
    assert list(rates.rates().values()) == pytest.approx(wanted, rel=1e-12)
    assert len(set(wanted)) == 3


def test_without_a_wrong_pair_every_right_one_is_accepted():
    rates = AcceptRates(0)
    rates.add(np.ones(3, dtype=np.float32), np.empty(0, dtype=np.float32))
    assert set(rates.rates().values()) == {100.0}
