"""Random number generators whose numbers depend only on a key, not on what ran before."""

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np
import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed from integers and strings, such as `derive_seed(seed, "augment", epoch, index)`."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def keyed_generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator that produces the same numbers for the same parts in any process."""
    return np.random.default_rng(derive_seed(*parts))


@contextlib.contextmanager
def keyed_torch_rng(*parts: int | str) -> Iterator[None]:
    """Seed torch's CPU generator from the parts inside the block, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(*parts))
        yield
