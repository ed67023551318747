import pytest
import torch

from fastreid.evaluation.search.metric_space import CosineSpace, EuclideanSpace, InnerProductSpace


@pytest.mark.parametrize("width", [1, 512, 2048, 100_000])
def test_error_bound_covers_the_worst_summation_order(width):
    rows = torch.ones(3, width)
    worst = width * 2.0**-24 / (1 - width * 2.0**-24)  # Higham's gamma for a product of unit rows
    assert (CosineSpace(rows, rows).error_bound() >= worst + 2.0**-23).all()
    assert (EuclideanSpace(rows, rows).error_bound() >= 1.5 * worst).all()  # a product of 1 plus half a square
    assert (InnerProductSpace(rows, rows).error_bound() >= worst + 2.0**-23).all()


@pytest.mark.parametrize("space_class", [CosineSpace, EuclideanSpace, InnerProductSpace])
def test_blocks_and_pairs_give_the_same_bits(space_class):
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(500, 64, generator=generator)
    gallery[100:300] = gallery[0] * (1 + 1e-7 * torch.randn(200, 64, generator=generator))
    space = space_class(gallery[::5].clone(), gallery)
    block = space.distances(torch.arange(100), slice(0, 500))
    pairs = torch.cartesian_prod(torch.arange(100), torch.arange(500))
    assert torch.equal(space.pair_distances(pairs[:, 0], pairs[:, 1]).view(100, 500), block)
    assert torch.equal(space.distances(torch.tensor([7, 3]), slice(90, 310)), block[[7, 3], 90:310])
