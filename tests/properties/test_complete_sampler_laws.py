"""Laws of the sampler that shows every drawing once a round, for any list of patents."""

from collections import Counter
from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.data.samplers.complete import CompleteIdentitySampler, still_used


@st.composite
def runs(draw):
    """(drawings of each patent, the sampler's options), always possible: two batches or more, of K or more."""
    counts = draw(st.lists(st.integers(1, 20), min_size=2, max_size=30))
    num_instance = draw(st.integers(1, 5))
    counts += [num_instance] * max(0, 2 * (num_instance - sum(counts) // 2))
    table = np.random.default_rng(draw(st.integers(0, 3))).integers(0, len(counts), (len(counts), 5))
    options = {
        "batch_size": draw(st.integers(num_instance, sum(counts) // 2)),
        "num_instance": num_instance,
        "seed": draw(st.integers(0, 5)),
        "look_alikes": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "neighbours": {made: np.roll(table, made) for made in draw(st.sets(st.integers(0, 20), max_size=4))},
    }
    return counts, options


def sampler_of(counts, options):
    return CompleteIdentitySampler(np.repeat(np.arange(len(counts)), counts).tolist(), **options)


def first(sampler, num_batches, start=0):
    return np.array(list(islice(sampler.batches(start), num_batches)))


@given(run=runs())
def test_every_round_has_every_drawing_once_and_no_batch_has_one_twice(run):
    counts, options = run
    num = sum(counts)
    batches = first(sampler_of(*run), 5 * num // options["batch_size"] + 1)
    assert batches.shape[1] == options["batch_size"]
    assert all(len(set(batch.tolist())) == len(batch) for batch in batches)
    for turn in range(5):
        assert sorted(batches.ravel()[turn * num : (turn + 1) * num].tolist()) == list(range(num))


@given(run=runs(), start=st.integers(0, 60))
def test_batches_follow_from_the_iteration_alone(run, start):
    assert np.array_equal(first(sampler_of(*run), start + 4)[start:], first(sampler_of(*run), 4, start))


@given(run=runs(), iteration=st.integers(0, 60))
def test_batches_to_come_need_only_the_tables_that_are_kept(run, iteration):
    counts, options = run
    known = {made: table for made, table in options["neighbours"].items() if made <= iteration}
    kept = still_used(known, iteration, num_drawings=sum(counts), batch_size=options["batch_size"])
    after = [first(sampler_of(counts, {**options, "neighbours": tables}), 8, iteration) for tables in (known, kept)]
    assert np.array_equal(*after)


@settings(max_examples=50)
@given(
    turns=st.lists(st.integers(1, 6), min_size=4, max_size=30),
    num_instance=st.integers(1, 5),
    num_groups=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_no_group_is_cut_where_all_fit(turns, num_instance, num_groups, seed):
    """Patents of whole groups of K, in batches of whole groups of K."""
    counts = [num_instance * num for num in turns]
    num_groups = min(num_groups, sum(turns) // 2)
    options = {"batch_size": num_instance * num_groups, "num_instance": num_instance, "seed": seed}
    targets = np.repeat(np.arange(len(counts)), counts)
    for batch in first(sampler_of(counts, options), 3 * sum(turns) // num_groups):
        assert {num % num_instance for num in Counter(targets[batch].tolist()).values()} == {0}
