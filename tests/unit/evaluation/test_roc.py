import numpy as np
import pytest
import torch

from fastreid.evaluation.scoring.roc import TprAtFpr

NONE = torch.empty(40, 0, dtype=torch.int64)


@pytest.mark.parametrize("buffer_size", [1, 500, 10**9])
def test_blocks_give_the_rates_of_all_pairs_together(buffer_size):
    generator = np.random.default_rng(0)
    positives, negatives = generator.normal(size=(40, 12)), generator.normal(2, 1, size=(40, 500))
    distances = torch.from_numpy(np.concatenate([positives, negatives], axis=1).round(2).astype(np.float32))
    matches = torch.arange(12).expand(40, 12)
    rates = TprAtFpr(negatives.size, buffer_size=buffer_size)
    for block in range(0, 40, 5):
        rows = slice(block, block + 5)
        rates.add(distances[rows], matches[rows], NONE[rows])
    nearest = np.sort(distances[:, 12:].numpy().ravel())
    expected = [100 * (distances[:, :12].numpy() < nearest[num]).mean() for num in (2, 20, 200)]
    assert list(rates.compute().values()) == pytest.approx(expected, rel=1e-12)
    assert len(set(expected)) == 3


def test_ignored_pairs_are_neither_positive_nor_negative():
    distances = torch.tensor([[0.0, 0.5, 1.0], [0.4, 0.5, 0.1]])
    rates = TprAtFpr(2)
    rates.add(distances, torch.tensor([[1, -1], [0, 2]]), torch.tensor([[0], [-1]]))
    scores = list(rates.compute().values())  # positive pairs at 0.5, 0.4 and 0.1; negative pairs at 1.0 and 0.5
    assert scores == pytest.approx([200 / 3] * 3, rel=1e-12)


def test_all_positives_are_accepted_without_negatives():
    rates = TprAtFpr(0)
    rates.add(torch.ones(40, 1), torch.zeros(40, 1, dtype=torch.int64), NONE)
    assert set(rates.compute().values()) == {100.0}
