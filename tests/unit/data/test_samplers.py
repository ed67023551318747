"""Which drawings stand in which batch."""

from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest

from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, InferenceSampler, TrainingSampler
from fastreid.utils.errors import InputError

BOTH = pytest.mark.parametrize("kind", [BalancedIdentitySampler, NaiveIdentitySampler])


def targets_of(counts):
    return np.repeat(np.arange(len(counts)), counts).tolist()


def make(kind, counts, *, batch_size=8, num_instance=4, **options):
    return kind(targets_of(counts), batch_size=batch_size, num_instance=num_instance, seed=3, **options)


def first(sampler, num_batches, start=0):
    return list(islice(sampler.batches(start), num_batches))


def test_the_stream_gives_every_drawing_once_before_any_twice():
    stream = list(chain.from_iterable(first(TrainingSampler(10, batch_size=4, seed=0), 5)))
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]


def test_a_batch_may_be_larger_than_the_list():
    (batch,) = first(TrainingSampler(3, batch_size=7, seed=0), 1)
    assert sorted(batch[:6]) == [0, 0, 1, 1, 2, 2]


def test_another_seed_is_another_order():
    assert first(TrainingSampler(50, batch_size=50, seed=0), 1) != first(TrainingSampler(50, batch_size=50, seed=1), 1)


def test_the_balanced_draw_gives_every_patent_as_often():
    drawn = list(
        chain.from_iterable(first(ImbalancedDatasetSampler(targets_of([90, 9, 1]), batch_size=100, seed=0), 60))
    )
    counts = Counter(np.asarray(targets_of([90, 9, 1]))[drawn].tolist())
    assert all(abs(counts[patent] - 2000) < 150 for patent in range(3))
    assert set(drawn) == set(range(100))


def test_inference_gives_the_list_in_order_in_fixed_batches():
    assert list(InferenceSampler(7, batch_size=3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert len(InferenceSampler(7, batch_size=3)) == 3


def test_inference_shards_are_runs_of_whole_batches_and_may_be_empty():
    shards = [list(InferenceSampler(10, batch_size=2, rank=rank, world_size=4)) for rank in range(4)]
    assert shards == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]], []]


@BOTH
@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        ([9], {}, "needs 2 patents, the training list has 1"),
        ([9] * 9, {"batch_size": 10}, "allowed are multiples of 4"),
        ([9] * 9, {"batch_size": 2}, "allowed are multiples of 4"),
        ([9] * 9, {"batch_size": 9}, r"multiples of 4 \(DATALOADER.NUM_INSTANCE\)"),
        ([9] * 9, {"num_instance": 0}, "NUM_INSTANCE is 0; allowed are 1 and more"),
        ([], {}, "the training list has 0"),
    ],
)
def test_what_would_spin_for_ever_is_refused_when_made(kind, counts, options, words):
    with pytest.raises(InputError, match=words):
        make(kind, counts, **options)


@BOTH
def test_patents_with_too_few_drawings_are_counted(kind):
    assert make(kind, [1, 3, 4, 5]).num_short_ids == 2


@BOTH
def test_a_patent_with_exactly_k_drawings_gives_each_once(kind):
    for batch in first(make(kind, [4, 4, 4], batch_size=12), 20):
        assert sorted(batch) == list(range(12))


@BOTH
def test_a_single_drawing_repeats_itself_and_two_share_evenly(kind):
    (batch,) = first(make(kind, [1, 2]), 1)
    assert Counter(batch) == {0: 4, 1: 2, 2: 2}


def test_a_balanced_round_has_every_patent_once():
    sampler = make(BalancedIdentitySampler, [5, 50, 1, 9, 4, 4])
    assert sampler.batches_per_round == 3
    patents = np.asarray(targets_of([5, 50, 1, 9, 4, 4]))[list(chain.from_iterable(first(sampler, 3)))]
    assert sorted(patents[::4].tolist()) == list(range(6))


def test_balanced_groups_take_other_cameras_first():
    cameras = [0] * 4 + [1] * 4 + [2] * 4
    sampler = make(BalancedIdentitySampler, [12, 12], num_instance=8, batch_size=16, cameras=cameras * 2)
    for batch in first(sampler, 30):
        for group in (batch[:8], batch[8:]):
            seen = [cameras[row % 12] for row in group]
            assert len(set(group)) == 8
            assert seen.count(seen[0]) == 1  # the anchor alone: seven of the eight others are from elsewhere


def test_balanced_groups_fall_back_on_the_same_camera_before_they_repeat():
    (batch,) = first(make(BalancedIdentitySampler, [4, 4], cameras=[0, 0, 0, 1] * 2), 1)
    assert len(set(batch)) == 8


def test_unknown_cameras_are_not_one_camera():
    plain = first(make(BalancedIdentitySampler, [9, 9, 9]), 10)
    assert first(make(BalancedIdentitySampler, [9, 9, 9], cameras=[-1] * 27), 10) == plain


def test_a_naive_round_gives_no_drawing_twice_and_patents_as_they_have_groups():
    counts = [8, 8, 16, 4, 7]
    sampler = make(NaiveIdentitySampler, counts)
    assert sampler.batches_per_round == 5  # 2 + 2 + 4 + 1 + 1 groups in pairs
    rows = list(chain.from_iterable(first(sampler, 5)))
    assert len(set(rows)) == 40
    assert Counter(np.asarray(targets_of(counts))[rows[::4]].tolist()) == {0: 2, 1: 2, 2: 4, 3: 1, 4: 1}


def test_one_giant_patent_does_not_stop_a_naive_round():
    counts = [400, 4, 4]
    sampler = make(NaiveIdentitySampler, counts)
    assert sampler.batches_per_round == 2
    assert all(len({targets_of(counts)[row] for row in batch}) == 2 for batch in first(sampler, 6))
