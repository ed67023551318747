import pytest

from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Warmup
from fastreid.utils.errors import InputError


def test_linear_warm_up_starts_at_its_factor_and_ends_at_one():
    warmup = Warmup(100, factor=0.1)
    assert warmup.factor_at(0) == pytest.approx(0.1)
    assert warmup.factor_at(50) == pytest.approx(0.55)
    assert warmup.factor_at(100) == 1.0


def test_a_cosine_shorter_than_its_warm_up_keeps_the_full_rate():
    schedule = CosineSchedule(10, 2, warmup=Warmup(100), eta_min=0.0)
    assert schedule.decayed_lr(1.0, schedule.num_decay_epochs(19)) == 1.0


def test_every_group_of_a_cosine_ends_at_the_same_rate():
    schedule = CosineSchedule(1, 10, eta_min=1e-3)
    assert schedule.decayed_lr(1.0, 10) == pytest.approx(1e-3)
    assert schedule.decayed_lr(5.0, 10) == pytest.approx(1e-3)


def test_a_milestone_counts_from_the_end_of_the_delay():
    schedule = MultiStepSchedule(10, 20, delay_epochs=5, steps=(2,), gamma=0.1)
    assert schedule.lr(1.0, 69) == 1.0
    assert schedule.lr(1.0, 70) == pytest.approx(0.1)


def test_an_unknown_warm_up_is_refused():
    with pytest.raises(InputError, match="no warm-up is called 'cubic'"):
        Warmup(10, method="cubic")


def test_a_rate_below_the_least_is_not_raised_to_it():
    schedule = CosineSchedule(max_epochs=4, iters_per_epoch=2, eta_min=1e-7)
    assert {schedule.lr(0.0, iteration) for iteration in range(8)} == {0.0}
