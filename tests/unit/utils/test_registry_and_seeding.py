import numpy as np
import pytest
import torch

from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry
from fastreid.utils.seeding import keyed_generator, keyed_torch_rng


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    table = Registry("pooling layer", {"avg": int, "gem": float})
    with pytest.raises(InputError) as fault:
        table.get("gme")
    assert str(fault.value) == "no pooling layer is called 'gme'. Did you mean 'gem'? Known: avg, gem."


def test_a_part_from_outside_joins_but_takes_no_name_that_is_there():
    table = Registry("loss", {"triplet": int})
    table.register("mine")(float)
    assert table.get("mine") is float
    with pytest.raises(InputError, match="already called 'mine'"):
        table.register("mine")


def test_draws_follow_from_their_key_alone():
    first = keyed_generator(1, "augment", 2).random(3)
    np.random.default_rng(0).random(100)
    assert np.array_equal(first, keyed_generator(1, "augment", 2).random(3))
    assert not np.array_equal(first, keyed_generator(1, "augment", 3).random(3))


def test_a_keyed_block_leaves_torch_s_own_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    with keyed_torch_rng(1, 2):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with keyed_torch_rng(1, 2):
        assert torch.equal(torch.rand(2), inside)
