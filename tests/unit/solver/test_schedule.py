import pytest

from fastreid.solver.schedule import CosineSchedule, MultiStepSchedule, Warmup, resolve_duration
from fastreid.utils.errors import InputError


def test_linear_warmup_goes_from_factor_to_one():
    warmup = Warmup(100, factor=0.1)
    assert warmup.factor_at(0) == pytest.approx(0.1)
    assert warmup.factor_at(50) == pytest.approx(0.55)
    assert warmup.factor_at(100) == 1.0


def test_cosine_shorter_than_warmup_keeps_the_base_lr():
    schedule = CosineSchedule(10, 2, warmup=Warmup(100), eta_min=0.0)
    assert schedule.decayed_lr(1.0, schedule.num_decay_epochs(19)) == 1.0


def test_cosine_ends_at_eta_min_for_every_group():
    schedule = CosineSchedule(1, 10, eta_min=1e-3)
    assert schedule.decayed_lr(1.0, 10) == pytest.approx(1e-3)
    assert schedule.decayed_lr(5.0, 10) == pytest.approx(1e-3)


def test_milestones_count_from_the_end_of_the_delay():
    schedule = MultiStepSchedule(10, 20, delay_epochs=5, steps=(2,), gamma=0.1)
    assert schedule.lr(1.0, 69) == 1.0
    assert schedule.lr(1.0, 70) == pytest.approx(0.1)


@pytest.mark.parametrize(("warmup", "first"), [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3)])
def test_decay_starts_after_the_last_epoch_of_the_warmup(warmup, first):
    schedule = CosineSchedule(10, 8, warmup=Warmup(warmup))
    assert [schedule.num_decay_epochs(10 * epoch) for epoch in (first - 1, first, first + 1)] == [0, 1, 2]


def test_unknown_warmup_method_raises():
    with pytest.raises(InputError, match="WARMUP_METHOD 'cubic' is unknown; available: linear"):
        Warmup(10, method="cubic")


def test_lr_below_eta_min_is_not_increased():
    schedule = CosineSchedule(max_epochs=4, iters_per_epoch=2, eta_min=1e-7)
    assert {schedule.lr(0.0, iteration) for iteration in range(8)} == {0.0}


def test_duration_below_one_is_a_ratio_of_the_run():
    assert [resolve_duration(value, 420) for value in (0, 0.1, 0.999, 1, 3000)] == [0, 42, 420, 1, 3000]
    assert [resolve_duration(value, 40) for value in (0.0, 0.01, 1e-9)] == [0, 1, 1]
