import numpy as np
import pytest
import torch

from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry
from fastreid.utils.seeding import keyed_generator, keyed_torch_rng


def test_unknown_name_raises_with_the_nearest_known_one():
    registry = Registry("pooling layer", {"avg": int, "gem": float})
    with pytest.raises(InputError) as caught:
        registry.get("gme")
    assert str(caught.value) == "pooling layer 'gme' is unknown. Did you mean 'gem'? Available: avg, gem."


def test_register_adds_new_names_only():
    registry = Registry("loss", {"triplet": int})
    registry.register("mine")(float)
    assert registry.get("mine") is float
    with pytest.raises(InputError, match="'mine' already exists"):
        registry.register("mine")


def test_generator_depends_on_its_key_only():
    first = keyed_generator(1, "augment", 2).random(3)
    np.random.default_rng(0).random(100)
    assert np.array_equal(first, keyed_generator(1, "augment", 2).random(3))
    assert not np.array_equal(first, keyed_generator(1, "augment", 3).random(3))


def test_keyed_torch_rng_restores_the_generator():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with keyed_torch_rng(1, 2):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with keyed_torch_rng(1, 2):
        assert torch.equal(torch.rand(2), inside)
