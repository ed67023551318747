"""Random draws that depend on what they are for, and on nothing that ran before."""

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any integers and words, such as `key(seed, "augment", epoch, index)`."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def keyed_generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator that gives the same numbers for the same parts, in any process."""
    return np.random.default_rng(derive_seed(*parts))


@contextlib.contextmanager
def keyed_torch_rng(*parts: int | str) -> Iterator[None]:
    """Inside, torch's own CPU draws follow from the parts alone; outside, its generator is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(derive_seed(*parts))
        yield
