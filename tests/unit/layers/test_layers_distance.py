import pytest
import torch

from fastreid.layers import cosine_distance, euclidean_distance, squared_euclidean_distance
from fastreid.utils.errors import InputError

A = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
B = torch.tensor([[0.0, 0.0], [3.0, 4.0], [4.0, -3.0]])


def test_euclidean_and_squared_distances():
    assert torch.allclose(squared_euclidean_distance(A, B), torch.tensor([[25.0, 0.0, 50.0], [0.0, 25.0, 25.0]]))
    assert torch.allclose(euclidean_distance(A, B), torch.tensor([[5.0, 0.0, 50.0**0.5], [0.0, 5.0, 5.0]]), atol=2e-6)


def test_cosine_distance_including_zero_rows():
    assert torch.allclose(cosine_distance(A, B), torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]]), atol=1e-6)
    assert cosine_distance(A[:1], -A[:1]).item() == pytest.approx(2.0)


def test_distance_of_equal_rows_has_zero_gradient():
    x = torch.ones(2, 3, requires_grad=True)
    euclidean_distance(x, x).sum().backward()
    assert torch.equal(x.grad, torch.zeros(2, 3))


@pytest.mark.parametrize("distance", [euclidean_distance, squared_euclidean_distance, cosine_distance])
def test_distances_are_float32_under_autocast(distance):
    x = torch.randn(4, 2048, generator=torch.Generator().manual_seed(0)) * 0.001 + 1
    exact = distance(x, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(distance(x, x), exact)
    assert distance(x.half(), x.half()).dtype == torch.float32


def test_features_of_different_widths_raise():
    with pytest.raises(InputError, match=r"features must be \(N, D\) and \(M, D\), not \(2, 2\) and \(3, 4\)"):
        cosine_distance(A, torch.zeros(3, 4))
