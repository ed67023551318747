import itertools
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from fastreid.data.samplers.complete import CompleteIdentitySampler, prune_tables
from fastreid.data.samplers.group_allocator import GroupAllocator
from fastreid.utils.errors import InputError

MIXED = [1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 13, 26] * 30  # number of drawings of each of 420 patents


def targets_from_counts(counts):
    return np.repeat(np.arange(len(counts)), counts)


def make_sampler(counts=MIXED, *, batch_size=32, num_instance=4, **options):
    return CompleteIdentitySampler(
        targets_from_counts(counts).tolist(), batch_size=batch_size, num_instance=num_instance, seed=3, **options
    )


def take_batches(sampler, num_batches, start=0):
    return np.array(list(islice(sampler.batches(start), num_batches)))


def count_by_patent(batch, targets):
    """Count the drawings of each patent in a batch."""
    return Counter(targets[batch].tolist())


def test_each_round_visits_every_drawing_once():
    num = sum(MIXED)
    stream = take_batches(make_sampler(), 4 * num // 32 + 1).ravel()
    rounds = [stream[turn * num : (turn + 1) * num] for turn in range(4)]
    assert all(sorted(rows) == list(range(num)) for rows in rounds)
    assert len({tuple(rows) for rows in rounds}) == 4


@pytest.mark.parametrize("batch_size", [32, 64])
def test_groups_have_at_least_k_or_all_drawings(batch_size):
    targets = targets_from_counts(MIXED)
    for batch in take_batches(make_sampler(batch_size=batch_size), 300):
        assert all(min(MIXED[patent], 4) <= num <= 7 for patent, num in count_by_patent(batch, targets).items())


def test_round_has_one_group_per_k_drawings():
    counts = [num for num in MIXED if num > 1] * 2
    counts += [8] * (-sum(counts) // 8 % 4)  # so that every round ends at the end of a batch
    counts += [2] * (-sum(counts) % 32 // 2) + [1] * (sum(counts) % 2)
    groups = Counter(
        patent
        for batch in take_batches(make_sampler(counts), sum(counts) // 32)
        for patent in set(targets_from_counts(counts)[batch].tolist())
    )
    assert sum(counts) % 32 == 0
    assert groups == {patent: max(num // 4, 1) for patent, num in enumerate(counts)}


def test_groups_of_large_patent_are_spread_evenly():
    counts = [80, *[4] * 380]  # 20 groups in 50 batches
    batches = take_batches(make_sampler(counts), 50)
    indices = [index for index, batch in enumerate(batches) if (batch < 80).any()]
    assert len(indices) == 20
    assert set(np.diff(indices)) <= {1, 2, 3, 4}


def test_rounds_share_no_patent_in_a_batch():
    targets, num = targets_from_counts(MIXED), sum(MIXED)
    batches = take_batches(make_sampler(), 10 * num // 32 + 1)
    seams = [(batches[turn * num // 32], turn * num % 32) for turn in range(1, 10) if turn * num % 32]
    assert len(seams) > 5
    for batch, split in seams:
        assert len(set(batch.tolist())) == 32
        assert not set(targets[batch[:split]]) & set(targets[batch[split:]])


def test_batches_depend_only_on_iteration_and_start_fast():
    whole = take_batches(make_sampler(), 300)
    for start in (1, 92, 93, 94, 250):
        assert np.array_equal(take_batches(make_sampler(), 10, start), whole[start : start + 10])
    started = time.monotonic()
    assert len(take_batches(make_sampler(), 1, 10**12)) == 1
    assert time.monotonic() - started < 2


def test_seed_changes_the_order():
    other = CompleteIdentitySampler(targets_from_counts(MIXED).tolist(), batch_size=32, num_instance=4, seed=4)
    assert not np.array_equal(take_batches(make_sampler(), 1), take_batches(other, 1))


def test_giant_patent_repeats_but_its_drawings_do_not():
    counts = [400, 4, 4, 2]
    stream = take_batches(make_sampler(counts, batch_size=16), 410 * 3 // 16)
    assert all(len(set(batch.tolist())) == 16 for batch in stream)
    assert sorted(stream.ravel()[:410]) == sorted(stream.ravel()[410:820]) == list(range(410))


def test_group_is_cut_if_whole_groups_cannot_fill_batch():
    counts = [7] * 64
    targets = targets_from_counts(counts)
    cut = [
        num
        for batch in take_batches(make_sampler(counts), 14)
        for num in count_by_patent(batch, targets).values()
        if num < 4
    ]
    assert 0 < len(cut) <= 14
    assert np.bincount(take_batches(make_sampler(counts), 14).ravel()).tolist() == [1] * 448


def test_sizes_are_shifted_before_a_group_is_cut():
    counts = [10] * 64  # 5 + 5 fill no 32, with 4 + 6 they do
    targets = targets_from_counts(counts)
    sizes = Counter(
        num for batch in take_batches(make_sampler(counts), 15) for num in count_by_patent(batch, targets).values()
    )
    assert set(sizes) == {4, 5, 6}


def test_groups_of_a_patent_are_combined_before_a_cut():
    groups = GroupAllocator(np.array([8, 5, 5]), num_instance=4, generator=np.random.default_rng(0)).fill(
        13, used=(), excluded={}
    )
    assert sorted(size for _, size in groups) == [4, 4, 5]


def test_cut_leaves_a_whole_group_if_possible():
    allocator = GroupAllocator(np.array([4, 5, 4]), num_instance=4, generator=np.random.default_rng(0))
    groups = allocator.fill(1, used=(), excluded={})
    assert groups == [(1, 1)]
    assert allocator.num_remaining == [4, 4, 4]


def test_whole_groups_fill_a_batch_whenever_possible():
    """Compare with a brute-force search over all sets of patents, each of which has one group."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        num_remaining, num_places = rng.integers(1, 8, size=7), int(rng.integers(4, 25))
        sums = {sum(subset) for num in range(8) for subset in itertools.combinations(num_remaining.tolist(), num)}
        total = min(num_places, num_remaining.sum())
        groups = GroupAllocator(num_remaining, num_instance=4, generator=rng).fill(total, used=(), excluded={})
        is_whole = all(size == num_remaining[patent] for patent, size in groups)
        assert is_whole == (total in sums)
        assert sum(size for _, size in groups) == total


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([9] * 9, {"num_instance": 0}, "NUM_INSTANCE is 0; it must be at least 1"),
        ([9] * 9, {"batch_size": 3}, r"IMS_PER_BATCH is 3; it must be at least DATALOADER.NUM_INSTANCE \(4\)"),
        ([9] * 7, {}, "63 training drawings are fewer than two batches of 32; lower SOLVER.IMS_PER_BATCH"),
        ([], {}, "0 training drawings are fewer"),
        ([9] * 9, {"hard_identity_ratio": 1.5}, "HARD_IDENTITIES is 1.5; it must be between 0 and 1"),
        (
            [9] * 9,
            {"neighbors": {0: np.zeros((8, 2), int)}},
            r"hard-identity table is int64 \(8, 2\); .* has 9 patents",
        ),
        ([9] * 9, {"neighbors": {0: np.full((9, 2), 9)}}, "from 0 to num_patents - 1"),
        ([9] * 9, {"neighbors": {0: np.zeros((9, 2))}}, "hard-identity table is float64"),
    ],
)
def test_invalid_arguments_raise(counts, options, message):
    with pytest.raises(InputError, match=message):
        make_sampler(counts, **options)


def family_table(size=6, num_patents=420):
    """Return a table in which the neighbors of each patent are the other members of its family."""
    member = np.arange(num_patents)[:, None] + np.arange(1, size)
    return (np.arange(num_patents)[:, None] // size * size + member % size).astype(np.int32)


def neighbor_ratio(batches, table):
    """Return the mean ratio of the patents in a batch that have a neighbor in it."""
    targets, ratios = targets_from_counts(MIXED), []
    for batch in batches:
        patents = set(targets[batch].tolist())
        ratios.append(np.mean([bool(patents & set(table[patent].tolist())) for patent in patents]))
    return np.mean(ratios)


def test_hard_identities_increase_neighbors_in_a_batch():
    table, num = family_table(), sum(MIXED) // 32
    measured_at = {
        ratio: neighbor_ratio(take_batches(make_sampler(hard_identity_ratio=ratio, neighbors={0: table}), num), table)
        for ratio in (0, 0.3, 0.6)
    }
    assert measured_at[0] == neighbor_ratio(take_batches(make_sampler(), num), table) < 0.2
    assert measured_at[0] + 0.2 < measured_at[0.3] < measured_at[0.6] - 0.1


def test_nearest_neighbor_is_first_and_ratio_is_respected():
    allocator = GroupAllocator(
        np.full(60, 4),
        num_instance=4,
        generator=np.random.default_rng(0),
        hard_identity_ratio=0.5,
        neighbors=family_table(num_patents=60),
    )
    patents = [patent for patent, _ in allocator.fill(32, used=(), excluded={})]
    assert len(patents) == 8
    assert [family_table(num_patents=60)[patent][0] for patent in patents[::2]] == patents[1::2]


ROUND = sum(MIXED) / 32  # batches per round
TABLES = {0: family_table(size=5), 60: family_table(size=6), 200: family_table(size=7), 260: family_table(size=10)}


def make_sampler_with_tables(tables, **options):
    return make_sampler(hard_identity_ratio=0.5, neighbors=tables, **options)


def test_hard_identities_keep_the_round_guarantees():
    targets, num = targets_from_counts(MIXED), sum(MIXED)
    batches = take_batches(make_sampler_with_tables(TABLES, batch_size=64), 5 * num // 64 + 1)
    for turn in range(5):
        assert sorted(batches.ravel()[turn * num : (turn + 1) * num]) == list(range(num))
    assert all(len(set(batch.tolist())) == 64 for batch in batches)
    cut = [
        any(size < min(MIXED[patent], 4) for patent, size in count_by_patent(batch, targets).items())
        for batch in batches
    ]
    assert np.mean(cut) < 0.05  # only at the end of a round, when few patents are left
    assert np.array_equal(take_batches(make_sampler_with_tables(TABLES, batch_size=64), 9, 50), batches[50:59])


def test_new_table_applies_from_the_next_round():
    before, after = (
        take_batches(make_sampler_with_tables({0: TABLES[0]}), 300),
        take_batches(make_sampler_with_tables({0: TABLES[0], 60: TABLES[60]}), 300),
    )
    second = int(ROUND)  # the second round starts in this batch, after table 60
    assert np.array_equal(before[:second], after[:second])
    assert not np.array_equal(before[second:], after[second:])
    late = take_batches(make_sampler_with_tables({0: TABLES[0], second + 1: TABLES[60]}), 300)
    third = int(2 * ROUND)
    assert np.array_equal(before[:third], late[:third])
    assert not np.array_equal(before[third:], late[third:])


@pytest.mark.parametrize("iteration", [0, 59, 60, 100, 199, 200, 230, 260, 290, 400])
def test_pruned_tables_suffice_for_later_batches(iteration):
    known = {created: table for created, table in TABLES.items() if created <= iteration}
    kept = prune_tables(known, iteration, num_drawings=sum(MIXED), batch_size=32)
    assert len(kept) <= 3
    for later in (0, 40, 150):
        assert np.array_equal(
            take_batches(make_sampler_with_tables(kept), 3, iteration + later),
            take_batches(make_sampler_with_tables(known), 3, iteration + later),
        )


def test_old_tables_are_pruned():
    tables = dict.fromkeys(range(0, 1000, 90), None)
    assert list(prune_tables(tables, 990, num_drawings=sum(MIXED), batch_size=32)) == [900, 990]


def test_large_round_is_fast_and_needs_little_memory(measure_peak_memory):
    counts = np.random.default_rng(0).choice([2, 3, 4, 5, 6, 7, 8, 9, 14], size=40_000)
    targets = targets_from_counts(counts).tolist()
    sampler = CompleteIdentitySampler(targets, batch_size=128, num_instance=4, seed=0)
    started = time.process_time()
    num_batches, mib = measure_peak_memory(lambda: sum(1 for _ in islice(sampler.batches(), len(targets) // 128)))
    assert num_batches > 1900
    assert time.process_time() - started < 5  # about half a second
    assert mib < 150
