"""Test transform and samplers against the reference implementation."""

import json
from collections import Counter
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.io.image import read_image
from fastreid.data.samplers.identity import BalancedIdentitySampler, NaiveIdentitySampler
from fastreid.data.transforms.build import build_test_transforms

GOLDEN = Path(__file__).parent
SAMPLERS = json.loads((GOLDEN / "samplers.json").read_text())
KINDS = {kind.__name__: kind for kind in (BalancedIdentitySampler, NaiveIdentitySampler)}


def test_bilevel_sheet_gives_the_golden_image():
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TEST", [64, 64]])
    image = build_test_transforms(cfg)(read_image(GOLDEN / "sample_1bit.png"))
    golden = np.load(GOLDEN / "test_transform.npz")["y"]
    assert image.numpy().dtype == golden.dtype
    assert np.array_equal(image.numpy(), golden)


def make_counts(num_patents, num_drawings):
    """Return drawings per patent that sum to `num_drawings`, from 1 to about twice the mean."""
    counts = np.linspace(1, 2 * num_drawings / num_patents - 1, num_patents).astype(int).clip(1)
    counts[-1] += num_drawings - counts.sum()
    return counts


@pytest.mark.parametrize("case", SAMPLERS)
def test_batches_are_composed_like_the_references(case):
    golden = SAMPLERS[case]
    counts = make_counts(golden["n_ids"], golden["n_images"])
    if case.startswith(("uniform", "eight", "five")):
        counts = np.full(golden["n_ids"], golden["n_images"] // golden["n_ids"])
    targets = np.repeat(np.arange(len(counts)), counts)
    kind = KINDS[case.split("/")[1]]
    sampler = kind(targets.tolist(), batch_size=golden["batch"], num_instance=golden["num_instance"], seed=0)
    batches = list(islice(sampler.batches(), 60))
    groups = [group for batch in batches for group in np.reshape(batch, (-1, golden["num_instance"]))]
    assert all(len(set(targets[group])) == 1 for group in groups) == golden["every_group_single_id"]
    patents = [len(set(targets[batch])) for batch in batches]
    assert [min(patents), max(patents)] == golden["distinct_ids_in_batch_min_max"]
    # The reference repeats some drawings although there are enough (off by one); ours never does.
    enough = [len(set(group)) for group in groups if counts[targets[group[0]]] >= golden["num_instance"]]
    assert all(num == golden["num_instance"] for num in enough)
    if kind is BalancedIdentitySampler:
        assert sampler.batches_per_round == golden["batches_per_pass_over_ids"]
        round_ids = set(targets[list(chain.from_iterable(batches[: sampler.batches_per_round]))])
        assert len(round_ids) == golden["distinct_ids_per_pass_min"]
    seen = Counter(row for batch in batches for row in batch)
    if golden["n_images"] == golden["n_ids"] * golden["num_instance"]:
        assert len(targets) - len(seen) == golden["images_never_seen"]
