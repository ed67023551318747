"""Laws of the samplers, for any list of patents."""

from collections import Counter
from itertools import chain, islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, InferenceSampler, TrainingSampler


@st.composite
def settings_of_groups(draw):
    """(drawings of each patent, K, patents a batch), always possible."""
    patents_per_batch = draw(st.integers(1, 6))
    counts = draw(st.lists(st.integers(1, 12), min_size=patents_per_batch, max_size=12))
    return counts, draw(st.integers(1, 6)), patents_per_batch


KINDS = st.sampled_from([BalancedIdentitySampler, NaiveIdentitySampler])
SEEDS = st.integers(0, 5)


def targets_of(counts):
    return np.repeat(np.arange(len(counts)), counts).tolist()


@given(kind=KINDS, given_groups=settings_of_groups(), seed=SEEDS, start=st.integers(0, 50))
def test_a_batch_is_whole_groups_of_different_patents_with_no_needless_repeat(kind, given_groups, seed, start):
    counts, num_instance, patents_per_batch = given_groups
    targets = targets_of(counts)
    size = num_instance * patents_per_batch
    sampler = kind(targets, batch_size=size, num_instance=num_instance, seed=seed)
    for batch in islice(sampler.batches(start), 4):
        groups = np.asarray(batch).reshape(patents_per_batch, num_instance)
        patents = [{targets[row] for row in group} for group in groups]
        assert all(len(patent) == 1 for patent in patents)
        assert len(set().union(*patents)) == patents_per_batch
        for group in groups:
            repeats = Counter(group.tolist()).values()
            count = counts[targets[group[0]]]
            assert len(repeats) == min(num_instance, count)
            assert max(repeats) - min(repeats) <= 1


@given(kind=KINDS, given_groups=settings_of_groups(), seed=SEEDS, start=st.integers(0, 40))
def test_identity_batches_follow_from_the_iteration_alone(kind, given_groups, seed, start):
    counts, num_instance, patents_per_batch = given_groups
    options = {"batch_size": num_instance * patents_per_batch, "num_instance": num_instance, "seed": seed}
    whole = list(islice(kind(targets_of(counts), **options).batches(), start + 5))
    assert list(islice(kind(targets_of(counts), **options).batches(start), 5)) == whole[start:]


@given(num=st.integers(1, 40), size=st.integers(1, 17), seed=SEEDS, start=st.integers(0, 40))
def test_stream_batches_follow_from_the_iteration_alone(num, size, seed, start):
    for sampler in (
        TrainingSampler(num, batch_size=size, seed=seed),
        ImbalancedDatasetSampler(list(range(num)), batch_size=size, seed=seed),
    ):
        whole = list(islice(sampler.batches(), start + 3))
        assert list(islice(sampler.batches(start), 3)) == whole[start:]
        assert all(len(batch) == size and set(batch) <= set(range(num)) for batch in whole)


@settings(max_examples=30)
@given(given_groups=settings_of_groups(), seed=SEEDS)
def test_every_drawing_comes_in_time(given_groups, seed):
    counts, num_instance, patents_per_batch = given_groups
    targets = targets_of(counts)
    sampler = NaiveIdentitySampler(
        targets, batch_size=num_instance * patents_per_batch, num_instance=num_instance, seed=seed
    )
    seen: set[int] = set()
    for batch in islice(sampler.batches(), 3000):
        seen.update(batch)
        if len(seen) == len(targets):
            return
    raise AssertionError(f"{len(seen)} of {len(targets)} drawings came in 3000 batches")


@given(num=st.integers(0, 60), size=st.integers(1, 9), world_size=st.integers(1, 5))
def test_any_number_of_processes_gives_the_same_inference_batches(num, size, world_size):
    shards = [
        batch
        for rank in range(world_size)
        for batch in InferenceSampler(num, batch_size=size, rank=rank, world_size=world_size)
    ]
    assert shards == list(InferenceSampler(num, batch_size=size))
    assert list(chain.from_iterable(shards)) == list(range(num))
