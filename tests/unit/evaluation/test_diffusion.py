import numpy as np
import pytest
import torch

from fastreid.evaluation import DiffusionSettings, nearest
from fastreid.evaluation.diffusion import Diffusion
from fastreid.evaluation.search import open_space
from fastreid.utils.errors import InputError

SETTINGS = DiffusionSettings(k=6, gamma=2.0, alpha=0.9, lambda_value=0.3)


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(12, 16, generator=generator)
    rows = centres.repeat(5, 1) + 0.8 * torch.randn(60, 16, generator=generator)
    return rows[:15], rows[15:]


def by_inverse(queries, gallery, settings):
    """The distances from whole matrices and their inverse."""
    rows = torch.cat([queries, gallery]).double()
    unit = torch.nn.functional.normalize(rows).numpy()
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    ranks = (-cosines).argsort(axis=1, kind="stable")[:, : settings.k]
    sees = np.zeros(cosines.shape, dtype=bool)
    np.put_along_axis(sees, ranks, True, axis=1)
    weights = np.where(sees & sees.T, cosines.clip(min=0) ** settings.gamma, 0)
    roots = np.sqrt(np.where(weights.sum(1) > 0, weights.sum(1), 1))
    reached = np.linalg.inv(np.eye(len(rows)) - settings.alpha * weights / roots / roots[:, None])[: len(queries)]
    shares = (reached / reached.max(1, keepdims=True))[:, len(queries) :]
    return (1 - settings.lambda_value) * (1 - shares) + settings.lambda_value * (
        1 - cosines[: len(queries), len(queries) :]
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("gamma", [0.0, 3.0])
@pytest.mark.parametrize("memory_mb", [1, 64])
def test_diffused_distances_are_those_of_the_inverse(alpha, gamma, memory_mb):
    queries, gallery = features()
    settings = DiffusionSettings(k=6, gamma=gamma, alpha=alpha, lambda_value=0.3)
    source = Diffusion(open_space(queries, gallery, "cosine"), settings, memory_mb=memory_mb)
    found = torch.cat([distances for _, distances in source.blocks()])
    np.testing.assert_allclose(found.numpy(), by_inverse(queries, gallery, settings), rtol=0, atol=1e-5)


def test_all_of_the_first_distance_is_plain_search_again():
    queries, gallery = features()
    settings = DiffusionSettings(k=6, gamma=2.0, alpha=0.9, lambda_value=1.0)
    found = Diffusion(open_space(queries, gallery, "cosine"), settings, memory_mb=64).first(10)
    assert torch.equal(found.indices, nearest(queries, gallery, 10).indices)


def test_rows_may_be_asked_for_in_any_order():
    source = Diffusion(open_space(*features(), "cosine"), SETTINGS, memory_mb=64)
    whole = torch.cat([distances for _, distances in source.blocks()])
    rows = torch.tensor([7, 2, 11])
    [(part, distances)] = source.blocks(rows)
    assert torch.equal(part, rows)
    torch.testing.assert_close(distances, whole[rows], rtol=0, atol=1e-6)


def test_a_drawing_without_neighbours_is_reached_by_nothing():
    queries, gallery = torch.eye(4)[:1], torch.eye(4)[1:]
    [(_, distances)] = Diffusion(open_space(queries, gallery, "cosine"), SETTINGS, memory_mb=64).blocks()
    assert distances.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"k": 0}, "DIFFUSION.K"),
        ({"alpha": 1.0}, "ALPHA.* from 0 to 0.999, not 1.0"),
        ({"gamma": float("nan")}, "GAMMA"),
        ({"lambda_value": 1.5}, "LAMBDA.* from 0 to 1, not 1.5"),
    ],
)
def test_diffusion_refuses_choices_that_mean_nothing(choices, words):
    with pytest.raises(InputError, match=words):
        DiffusionSettings(**({"k": 5, "gamma": 3.0, "alpha": 0.9, "lambda_value": 0.3} | choices))
