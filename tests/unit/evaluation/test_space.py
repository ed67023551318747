import pytest
import torch

from fastreid.evaluation.space import CosineSpace, EuclideanSpace, products


@pytest.mark.parametrize("width", [1, 512, 2048, 100_000])
def test_the_slack_covers_float32_sums_in_the_worst_order(width):
    rows = torch.ones(3, width)
    worst = width * 2.0**-24 / (1 - width * 2.0**-24)  # Higham's gamma for a product of rows of length 1
    assert (CosineSpace(rows, rows).slack() >= worst + 2.0**-23).all()
    assert (EuclideanSpace(rows, rows).slack() >= 1.5 * worst).all()  # a product of 1 and half a square


@pytest.mark.parametrize("make", [CosineSpace, EuclideanSpace])
def test_products_order_pairs_as_their_distances_do_up_to_the_slack(make):
    generator = torch.Generator().manual_seed(0)
    space = make(torch.rand(20, 300, generator=generator), torch.rand(400, 300, generator=generator))
    found = products(space.query_rows(slice(0, 20)), space.gallery_rows(slice(0, 400))).double()
    by_product = found.sort(dim=1, descending=True)
    distances = space.distances(torch.arange(20), slice(0, 400)).gather(1, by_product.indices)
    turned = (distances[:, :, None] > distances[:, None, :]).triu(1)
    apart = by_product.values[:, :, None] - by_product.values[:, None, :] > 2 * space.slack()[:, None, None]
    assert turned.any()  # float32 does turn some pairs
    assert not (turned & apart).any()


@pytest.mark.parametrize("make", [CosineSpace, EuclideanSpace])
def test_blocks_and_pairs_give_the_same_bits(make):
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(500, 64, generator=generator)
    gallery[100:300] = gallery[0] * (1 + 1e-7 * torch.randn(200, 64, generator=generator))
    space = make(gallery[::5].clone(), gallery)
    block = space.distances(torch.arange(100), slice(0, 500))
    pairs = torch.cartesian_prod(torch.arange(100), torch.arange(500))
    assert torch.equal(space.pair_distances(pairs[:, 0], pairs[:, 1]).view(100, 500), block)
    assert torch.equal(space.distances(torch.tensor([7, 3]), slice(90, 310)), block[[7, 3], 90:310])
