from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest

from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, InferenceSampler, TrainingSampler
from fastreid.utils.errors import InputError

BOTH_SAMPLERS = pytest.mark.parametrize("kind", [BalancedIdentitySampler, NaiveIdentitySampler])


def targets_from_counts(counts):
    return np.repeat(np.arange(len(counts)), counts).tolist()


def make_sampler(kind, counts, *, batch_size=8, num_instance=4, **options):
    return kind(targets_from_counts(counts), batch_size=batch_size, num_instance=num_instance, seed=3, **options)


def take_batches(sampler, num_batches, start=0):
    return list(islice(sampler.batches(start), num_batches))


def test_training_sampler_visits_every_drawing_once_per_round():
    stream = list(chain.from_iterable(take_batches(TrainingSampler(10, batch_size=4, seed=0), 5)))
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]


def test_batch_may_be_larger_than_the_list():
    (batch,) = take_batches(TrainingSampler(3, batch_size=7, seed=0), 1)
    assert sorted(batch[:6]) == [0, 0, 1, 1, 2, 2]


def test_seed_changes_the_order():
    assert take_batches(TrainingSampler(50, batch_size=50, seed=0), 1) != take_batches(
        TrainingSampler(50, batch_size=50, seed=1), 1
    )


def test_imbalanced_sampler_visits_patents_equally_often():
    sampled = list(
        chain.from_iterable(
            take_batches(ImbalancedDatasetSampler(targets_from_counts([90, 9, 1]), batch_size=100, seed=0), 60)
        )
    )
    counts = Counter(np.asarray(targets_from_counts([90, 9, 1]))[sampled].tolist())
    assert all(abs(counts[patent] - 2000) < 150 for patent in range(3))
    assert set(sampled) == set(range(100))


def test_inference_sampler_keeps_order():
    assert list(InferenceSampler(7, batch_size=3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(InferenceSampler(7, batch_size=3)) == 3


def test_inference_shards_are_contiguous_and_may_be_empty():
    shards = [list(InferenceSampler(10, batch_size=2, rank=rank, world_size=4)) for rank in range(4)]
    assert shards == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]], []]


@BOTH_SAMPLERS
@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([9], {}, "needs 2 patents, but the training list has 1; set SOLVER.IMS_PER_BATCH to 4, or raise"),
        ([9] * 5, {"batch_size": 64}, "needs 16 patents, but .* has 5; set SOLVER.IMS_PER_BATCH to 20, or raise"),
        ([1] * 9, {"batch_size": 64}, "needs 16 patents, but .* has 9; set SOLVER.IMS_PER_BATCH to 8, or raise"),
        ([9] * 9, {"batch_size": 10}, "must be a multiple of DATALOADER.NUM_INSTANCE"),
        ([9] * 9, {"batch_size": 2}, "must be a multiple of DATALOADER.NUM_INSTANCE"),
        ([9] * 9, {"batch_size": 9}, r"IMS_PER_BATCH is 9; it must be a multiple of DATALOADER.NUM_INSTANCE \(4\)"),
        ([9] * 9, {"num_instance": 0}, "NUM_INSTANCE is 0; it must be at least 1"),
        ([], {}, "the training list has 0"),
    ],
)
def test_invalid_arguments_raise(kind, counts, options, message):
    with pytest.raises(InputError, match=message):
        make_sampler(kind, counts, **options)


@BOTH_SAMPLERS
def test_patents_with_too_few_drawings_are_counted(kind):
    assert make_sampler(kind, [1, 3, 4, 5]).num_short_ids == 2


@BOTH_SAMPLERS
def test_patent_with_k_drawings_uses_each_once(kind):
    for batch in take_batches(make_sampler(kind, [4, 4, 4], batch_size=12), 20):
        assert sorted(batch) == list(range(12))


@BOTH_SAMPLERS
def test_small_patents_repeat_drawings_evenly(kind):
    (batch,) = take_batches(make_sampler(kind, [1, 2]), 1)
    assert Counter(batch) == {0: 4, 1: 2, 2: 2}


def test_balanced_round_has_every_patent_once():
    sampler = make_sampler(BalancedIdentitySampler, [5, 50, 1, 9, 4, 4])
    assert sampler.batches_per_round == 3
    patents = np.asarray(targets_from_counts([5, 50, 1, 9, 4, 4]))[list(chain.from_iterable(take_batches(sampler, 3)))]
    assert sorted(patents[::4].tolist()) == list(range(6))


def test_balanced_groups_prefer_other_cameras():
    cameras = [0] * 4 + [1] * 4 + [2] * 4
    sampler = make_sampler(BalancedIdentitySampler, [12, 12], num_instance=8, batch_size=16, cameras=cameras * 2)
    for batch in take_batches(sampler, 30):
        for group in (batch[:8], batch[8:]):
            seen = [cameras[row % 12] for row in group]
            assert len(set(group)) == 8
            assert seen.count(seen[0]) == 1  # only the anchor: all others are from other cameras


def test_balanced_groups_use_same_camera_before_repeating():
    (batch,) = take_batches(make_sampler(BalancedIdentitySampler, [4, 4], cameras=[0, 0, 0, 1] * 2), 1)
    assert len(set(batch)) == 8


def test_unknown_cameras_do_not_count_as_the_same():
    plain = take_batches(make_sampler(BalancedIdentitySampler, [9, 9, 9]), 10)
    assert take_batches(make_sampler(BalancedIdentitySampler, [9, 9, 9], cameras=[-1] * 27), 10) == plain


def test_naive_round_visits_each_group_once():
    counts = [8, 8, 16, 4, 7]
    sampler = make_sampler(NaiveIdentitySampler, counts)
    assert sampler.batches_per_round == 5  # 2 + 2 + 4 + 1 + 1 groups in pairs
    rows = list(chain.from_iterable(take_batches(sampler, 5)))
    assert len(set(rows)) == 40
    assert Counter(np.asarray(targets_from_counts(counts))[rows[::4]].tolist()) == {0: 2, 1: 2, 2: 4, 3: 1, 4: 1}


def test_giant_patent_does_not_break_naive_round():
    counts = [400, 4, 4]
    sampler = make_sampler(NaiveIdentitySampler, counts)
    assert sampler.batches_per_round == 2
    assert all(len({targets_from_counts(counts)[row] for row in batch}) == 2 for batch in take_batches(sampler, 6))
