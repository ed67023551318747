from collections import Counter
from itertools import chain, islice

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.samplers.instance import ImbalancedDatasetSampler, InferenceSampler, TrainingSampler


@st.composite
def group_settings(draw):
    """Generate valid (drawings per patent, K, patents per batch)."""
    patents_per_batch = draw(st.integers(1, 6))
    counts = draw(st.lists(st.integers(1, 12), min_size=patents_per_batch, max_size=12))
    return counts, draw(st.integers(1, 6)), patents_per_batch


SAMPLER_CLASSES = st.sampled_from([BalancedIdentitySampler, NaiveIdentitySampler])
SEEDS = st.integers(0, 5)


def targets_from_counts(counts):
    return np.repeat(np.arange(len(counts)), counts).tolist()


@given(sampler_class=SAMPLER_CLASSES, group_options=group_settings(), seed=SEEDS, start=st.integers(0, 50))
def test_batch_has_groups_of_distinct_patents(sampler_class, group_options, seed, start):
    counts, num_instance, patents_per_batch = group_options
    targets = targets_from_counts(counts)
    size = num_instance * patents_per_batch
    sampler = sampler_class(targets, batch_size=size, num_instance=num_instance, seed=seed)
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


@given(sampler_class=SAMPLER_CLASSES, group_options=group_settings(), seed=SEEDS, start=st.integers(0, 40))
def test_identity_batches_depend_only_on_the_iteration(sampler_class, group_options, seed, start):
    counts, num_instance, patents_per_batch = group_options
    options = {"batch_size": num_instance * patents_per_batch, "num_instance": num_instance, "seed": seed}
    whole = list(islice(sampler_class(targets_from_counts(counts), **options).batches(), start + 5))
    assert list(islice(sampler_class(targets_from_counts(counts), **options).batches(start), 5)) == whole[start:]


@given(num=st.integers(1, 40), size=st.integers(1, 17), seed=SEEDS, start=st.integers(0, 40))
def test_drawing_batches_depend_only_on_the_iteration(num, size, seed, start):
    for sampler in (
        TrainingSampler(num, batch_size=size, seed=seed),
        ImbalancedDatasetSampler(list(range(num)), batch_size=size, seed=seed),
    ):
        whole = list(islice(sampler.batches(), start + 3))
        assert list(islice(sampler.batches(start), 3)) == whole[start:]
        assert all(len(batch) == size and set(batch) <= set(range(num)) for batch in whole)


@settings(max_examples=30)
@given(group_options=group_settings(), seed=SEEDS)
def test_naive_sampler_visits_every_drawing_eventually(group_options, seed):
    counts, num_instance, patents_per_batch = group_options
    targets = targets_from_counts(counts)
    sampler = NaiveIdentitySampler(
        targets, batch_size=num_instance * patents_per_batch, num_instance=num_instance, seed=seed
    )
    seen: set[int] = set()
    for batch in islice(sampler.batches(), 3000):
        seen.update(batch)
        if len(seen) == len(targets):
            return
    raise AssertionError(f"{len(seen)} of {len(targets)} drawings occurred in 3000 batches")


@given(num=st.integers(0, 60), size=st.integers(1, 9), world_size=st.integers(1, 5))
def test_inference_batches_do_not_depend_on_world_size(num, size, world_size):
    shards = [
        batch
        for rank in range(world_size)
        for batch in InferenceSampler(num, batch_size=size, rank=rank, world_size=world_size)
    ]
    assert shards == list(InferenceSampler(num, batch_size=size))
    assert list(chain.from_iterable(shards)) == list(range(num))
