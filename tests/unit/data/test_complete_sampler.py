"""Every drawing once a round, in whole groups of its patent."""

import itertools
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from fastreid.data.samplers.complete import CompleteIdentitySampler, still_used
from fastreid.data.samplers.group_allocator import Dealer
from fastreid.utils.errors import InputError

MIXED = [1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 13, 26] * 30  # drawings of each of 420 patents


def targets_of(counts):
    return np.repeat(np.arange(len(counts)), counts)


def make(counts=MIXED, *, batch_size=32, num_instance=4, **options):
    return CompleteIdentitySampler(
        targets_of(counts).tolist(), batch_size=batch_size, num_instance=num_instance, seed=3, **options
    )


def first(sampler, num_batches, start=0):
    return np.array(list(islice(sampler.batches(start), num_batches)))


def groups_of(batch, targets):
    """Drawings of each patent in it."""
    return Counter(targets[batch].tolist())


def test_every_drawing_is_seen_once_before_any_is_seen_twice():
    num = sum(MIXED)
    stream = first(make(), 4 * num // 32 + 1).ravel()
    rounds = [stream[turn * num : (turn + 1) * num] for turn in range(4)]
    assert all(sorted(rows) == list(range(num)) for rows in rounds)
    assert len({tuple(rows) for rows in rounds}) == 4


@pytest.mark.parametrize("batch_size", [32, 64])
def test_a_patent_stands_in_groups_of_k_or_with_all_it_has(batch_size):
    targets = targets_of(MIXED)
    for batch in first(make(batch_size=batch_size), 300):
        assert all(min(MIXED[patent], 4) <= num <= 7 for patent, num in groups_of(batch, targets).items())


def test_a_round_has_one_group_for_each_k_drawings_of_a_patent():
    counts = [num for num in MIXED if num > 1] * 2
    counts += [8] * (-sum(counts) // 8 % 4)  # so that a round ends with a batch
    counts += [2] * (-sum(counts) % 32 // 2) + [1] * (sum(counts) % 2)
    groups = Counter(
        patent for batch in first(make(counts), sum(counts) // 32) for patent in set(targets_of(counts)[batch].tolist())
    )
    assert sum(counts) % 32 == 0
    assert groups == {patent: max(num // 4, 1) for patent, num in enumerate(counts)}


def test_the_groups_of_a_large_patent_are_spread_evenly_over_a_round():
    counts = [80, *[4] * 380]  # 20 groups in 50 batches
    batches = first(make(counts), 50)
    where = [number for number, batch in enumerate(batches) if (batch < 80).any()]
    assert len(where) == 20
    assert set(np.diff(where)) <= {1, 2, 3, 4}


def test_no_patent_stands_twice_where_two_rounds_meet():
    targets, num = targets_of(MIXED), sum(MIXED)
    batches = first(make(), 10 * num // 32 + 1)
    seams = [(batches[turn * num // 32], turn * num % 32) for turn in range(1, 10) if turn * num % 32]
    assert len(seams) > 5
    for batch, where in seams:
        assert len(set(batch.tolist())) == 32
        assert not set(targets[batch[:where]]) & set(targets[batch[where:]])


def test_the_batches_of_an_iteration_follow_from_it_alone_and_at_once():
    whole = first(make(), 300)
    for start in (1, 92, 93, 94, 250):
        assert np.array_equal(first(make(), 10, start), whole[start : start + 10])
    begun = time.monotonic()
    assert len(first(make(), 1, 10**12)) == 1
    assert time.monotonic() - begun < 2


def test_another_seed_is_another_order():
    other = CompleteIdentitySampler(targets_of(MIXED).tolist(), batch_size=32, num_instance=4, seed=4)
    assert not np.array_equal(first(make(), 1), first(other, 1))


def test_one_giant_patent_stands_several_times_in_a_batch_and_no_drawing_does():
    counts = [400, 4, 4, 2]
    stream = first(make(counts, batch_size=16), 410 * 3 // 16)
    assert all(len(set(batch.tolist())) == 16 for batch in stream)
    assert sorted(stream.ravel()[:410]) == sorted(stream.ravel()[410:820]) == list(range(410))


def test_a_group_is_cut_where_no_whole_ones_fill_a_batch():
    counts = [7] * 64
    targets = targets_of(counts)
    cut = [num for batch in first(make(counts), 14) for num in groups_of(batch, targets).values() if num < 4]
    assert 0 < len(cut) <= 14
    assert np.bincount(first(make(counts), 14).ravel()).tolist() == [1] * 448


def test_sizes_are_shifted_before_a_group_is_cut():
    counts = [10] * 64  # 5 + 5 fill no 32, with 4 + 6 they do
    targets = targets_of(counts)
    sizes = Counter(num for batch in first(make(counts), 15) for num in groups_of(batch, targets).values())
    assert set(sizes) == {4, 5, 6}


def test_several_groups_of_a_patent_stand_together_before_a_group_is_cut():
    groups = Dealer(np.array([8, 5, 5]), num_instance=4, generator=np.random.default_rng(0)).fill(
        13, used=(), barred={}
    )
    assert sorted(size for _, size in groups) == [4, 4, 5]


def test_the_cut_is_made_where_it_leaves_a_whole_group():
    dealer = Dealer(np.array([4, 5, 4]), num_instance=4, generator=np.random.default_rng(0))
    groups = dealer.fill(1, used=(), barred={})
    assert groups == [(1, 1)]
    assert dealer.left == [4, 4, 4]


def test_a_batch_is_filled_by_whole_groups_whenever_some_fill_it():
    """The same answer as trying all sets of patents, each of which has one group."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        left, room = rng.integers(1, 8, size=7), int(rng.integers(4, 25))
        sums = {sum(some) for num in range(8) for some in itertools.combinations(left.tolist(), num)}
        groups = Dealer(left, num_instance=4, generator=rng).fill(min(room, left.sum()), used=(), barred={})
        whole = all(size == left[patent] for patent, size in groups)
        assert whole == (min(room, left.sum()) in sums)
        assert sum(size for _, size in groups) == min(room, left.sum())


@pytest.mark.parametrize(
    ("counts", "options", "words"),
    [
        ([9] * 9, {"num_instance": 0}, "NUM_INSTANCE is 0; allowed are 1 and more"),
        ([9] * 9, {"batch_size": 3}, r"IMS_PER_BATCH is 3; allowed are 4 \(DATALOADER.NUM_INSTANCE\) and more"),
        ([9] * 7, {}, "63 training drawings are fewer than two batches; lower SOLVER.IMS_PER_BATCH 32"),
        ([], {}, "0 training drawings are fewer"),
        ([9] * 9, {"look_alikes": 1.5}, "HARD_IDENTITIES is 1.5; allowed are 0 to 1"),
        ([9] * 9, {"neighbours": {0: np.zeros((8, 2), int)}}, r"look-alikes is int64 \(8, 2\); .* has 9 patents"),
        ([9] * 9, {"neighbours": {0: np.full((9, 2), 9)}}, "from 0 to num_patents - 1"),
        ([9] * 9, {"neighbours": {0: np.zeros((9, 2))}}, "look-alikes is float64"),
    ],
)
def test_what_cannot_be_is_refused_when_made(counts, options, words):
    with pytest.raises(InputError, match=words):
        make(counts, **options)


def families(size=6, num_patents=420):
    """Each patent's neighbours are the others of its family, so that it is easy to see who is with whom."""
    member = np.arange(num_patents)[:, None] + np.arange(1, size)
    return (np.arange(num_patents)[:, None] // size * size + member % size).astype(np.int32)


def share_near(batches, table):
    """Share of a batch's patents with a neighbour in it, on average."""
    targets, shares = targets_of(MIXED), []
    for batch in batches:
        patents = set(targets[batch].tolist())
        shares.append(np.mean([bool(patents & set(table[patent].tolist())) for patent in patents]))
    return np.mean(shares)


def test_look_alikes_raise_the_share_of_neighbours_in_a_batch():
    table, num = families(), sum(MIXED) // 32
    at = {
        share: share_near(first(make(look_alikes=share, neighbours={0: table}), num), table) for share in (0, 0.3, 0.6)
    }
    assert at[0] == share_near(first(make(), num), table) < 0.2
    assert at[0] + 0.2 < at[0.3] < at[0.6] - 0.1


def test_the_nearest_look_alike_comes_first_and_the_share_is_kept():
    dealer = Dealer(
        np.full(60, 4),
        num_instance=4,
        generator=np.random.default_rng(0),
        look_alikes=0.5,
        neighbours=families(num_patents=60),
    )
    patents = [patent for patent, _ in dealer.fill(32, used=(), barred={})]
    assert len(patents) == 8
    assert [families(num_patents=60)[patent][0] for patent in patents[::2]] == patents[1::2]


ROUND = sum(MIXED) / 32  # batches
TABLES = {0: families(size=5), 60: families(size=6), 200: families(size=7), 260: families(size=10)}


def with_tables(tables, **options):
    return make(look_alikes=0.5, neighbours=tables, **options)


def test_with_look_alikes_all_that_holds_without_them_holds():
    targets, num = targets_of(MIXED), sum(MIXED)
    batches = first(with_tables(TABLES, batch_size=64), 5 * num // 64 + 1)
    for turn in range(5):
        assert sorted(batches.ravel()[turn * num : (turn + 1) * num]) == list(range(num))
    assert all(len(set(batch.tolist())) == 64 for batch in batches)
    cut = [any(size < min(MIXED[patent], 4) for patent, size in groups_of(batch, targets).items()) for batch in batches]
    assert np.mean(cut) < 0.05  # at the ends of rounds, where few patents are left to choose from
    assert np.array_equal(first(with_tables(TABLES, batch_size=64), 9, 50), batches[50:59])


def test_a_table_is_taken_up_by_the_first_round_that_begins_with_it():
    before, after = first(with_tables({0: TABLES[0]}), 300), first(with_tables({0: TABLES[0], 60: TABLES[60]}), 300)
    second = int(ROUND)  # the batch in which the second round begins; the table was there
    assert np.array_equal(before[:second], after[:second])
    assert not np.array_equal(before[second:], after[second:])
    late = first(with_tables({0: TABLES[0], second + 1: TABLES[60]}), 300)
    third = int(2 * ROUND)
    assert np.array_equal(before[:third], late[:third])
    assert not np.array_equal(before[third:], late[third:])


@pytest.mark.parametrize("iteration", [0, 59, 60, 100, 199, 200, 230, 260, 290, 400])
def test_the_tables_that_are_kept_are_all_that_batches_to_come_depend_on(iteration):
    known = {made: table for made, table in TABLES.items() if made <= iteration}
    kept = still_used(known, iteration, num_drawings=sum(MIXED), batch_size=32)
    assert len(kept) <= 3
    for later in (0, 40, 150):
        assert np.array_equal(
            first(with_tables(kept), 3, iteration + later), first(with_tables(known), 3, iteration + later)
        )


def test_old_tables_are_not_kept():
    tables = dict.fromkeys(range(0, 1000, 90), None)
    assert list(still_used(tables, 990, num_drawings=sum(MIXED), batch_size=32)) == [900, 990]


def test_a_round_of_a_large_list_is_made_in_seconds_and_little_memory(measured):
    counts = np.random.default_rng(0).choice([2, 3, 4, 5, 6, 7, 8, 9, 14], size=40_000)
    targets = targets_of(counts).tolist()
    sampler = CompleteIdentitySampler(targets, batch_size=128, num_instance=4, seed=0)
    begun = time.process_time()
    num_batches, mib = measured(lambda: sum(1 for _ in islice(sampler.batches(), len(targets) // 128)))
    assert num_batches > 1900
    assert time.process_time() - begun < 5  # about half a second
    assert mib < 150
