from collections import Counter
from itertools import islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.data.samplers.complete import CompleteIdentitySampler, prune_tables


@st.composite
def sampler_arguments(draw):
    """Generate valid (drawings per patent, sampler options): at least two batches of at least K drawings."""
    counts = draw(st.lists(st.integers(1, 20), min_size=2, max_size=30))
    num_instance = draw(st.integers(1, 5))
    counts += [num_instance] * max(0, 2 * (num_instance - sum(counts) // 2))
    table = np.random.default_rng(draw(st.integers(0, 3))).integers(0, len(counts), (len(counts), 5))
    options = {
        "batch_size": draw(st.integers(num_instance, sum(counts) // 2)),
        "num_instance": num_instance,
        "seed": draw(st.integers(0, 5)),
        "hard_identity_ratio": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "neighbors": {created: np.roll(table, created) for created in draw(st.sets(st.integers(0, 20), max_size=4))},
    }
    return counts, options


def make_sampler(counts, options):
    return CompleteIdentitySampler(np.repeat(np.arange(len(counts)), counts).tolist(), **options)


def take_batches(sampler, num_batches, start=0):
    return np.array(list(islice(sampler.batches(start), num_batches)))


@given(run=sampler_arguments())
def test_round_visits_every_drawing_once(run):
    counts, options = run
    num = sum(counts)
    batches = take_batches(make_sampler(*run), 5 * num // options["batch_size"] + 1)
    assert batches.shape[1] == options["batch_size"]
    assert all(len(set(batch.tolist())) == len(batch) for batch in batches)
    for turn in range(5):
        assert sorted(batches.ravel()[turn * num : (turn + 1) * num].tolist()) == list(range(num))


@given(run=sampler_arguments(), start=st.integers(0, 60))
def test_batches_depend_only_on_the_iteration(run, start):
    assert np.array_equal(
        take_batches(make_sampler(*run), start + 4)[start:], take_batches(make_sampler(*run), 4, start)
    )


@given(run=sampler_arguments(), iteration=st.integers(0, 60))
def test_pruned_tables_suffice_for_later_batches(run, iteration):
    counts, options = run
    known = {created: table for created, table in options["neighbors"].items() if created <= iteration}
    kept = prune_tables(known, iteration, num_drawings=sum(counts), batch_size=options["batch_size"])
    after = [
        take_batches(make_sampler(counts, {**options, "neighbors": tables}), 8, iteration) for tables in (known, kept)
    ]
    assert np.array_equal(*after)


@settings(max_examples=50)
@given(
    turns=st.lists(st.integers(1, 6), min_size=4, max_size=30),
    num_instance=st.integers(1, 5),
    num_groups=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_no_group_is_cut_if_all_fit(turns, num_instance, num_groups, seed):
    """All patents and all batches consist of whole groups of K."""
    counts = [num_instance * num for num in turns]
    num_groups = min(num_groups, sum(turns) // 2)
    options = {"batch_size": num_instance * num_groups, "num_instance": num_instance, "seed": seed}
    targets = np.repeat(np.arange(len(counts)), counts)
    for batch in take_batches(make_sampler(counts, options), 3 * sum(turns) // num_groups):
        assert {num % num_instance for num in Counter(targets[batch].tolist()).values()} == {0}
