import pytest
import torch

from fastreid.evaluation import Whitening, WhiteningSettings, learn_whitening
from fastreid.evaluation.postprocess.whitening import load_whitening, save_whitening
from fastreid.utils.errors import InputError, NumericalError, WeightsError


def features(num=400, width=12):
    generator = torch.Generator().manual_seed(0)
    rotation = torch.randn(width, width, generator=generator)
    return torch.randn(num, width, generator=generator) @ rotation + torch.randn(width, generator=generator)


def project(whitening, rows):
    """Return whitened features before normalization."""
    unit = torch.nn.functional.normalize(rows.double())
    return (unit - whitening.mean.double()) @ whitening.matrix.double()


def test_whitened_features_have_mean_0_and_equal_variances():
    rows = features()
    whitened = project(learn_whitening(rows, WhiteningSettings()), rows)
    torch.testing.assert_close(whitened.mean(0), torch.zeros(12, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(whitened.T @ whitened / len(rows), torch.eye(12, dtype=torch.float64), rtol=0, atol=1e-3)


def test_power_0_is_pca_and_preserves_distances():
    rows = features()
    whitened = project(learn_whitening(rows, WhiteningSettings(power=0.0)), rows)
    unit = torch.nn.functional.normalize(rows.double())
    torch.testing.assert_close(torch.cdist(whitened, whitened), torch.cdist(unit, unit), rtol=0, atol=1e-5)
    assert (whitened.var(0).diff() <= 0).all()


def test_dim_keeps_the_largest_components():
    rows = features()
    whole, part = (learn_whitening(rows, WhiteningSettings(dim=dim)) for dim in (0, 3))
    assert torch.equal(part.matrix, whole.matrix[:, :3])
    assert part(rows).shape == (400, 3)
    torch.testing.assert_close(part(rows).norm(dim=1), torch.ones(400))


def test_few_features_give_fewer_components():
    assert learn_whitening(features(num=5), WhiteningSettings()).matrix.shape == (12, 4)
    assert learn_whitening(features(num=5), WhiteningSettings(dim=4)).matrix.shape == (12, 4)
    with pytest.raises(InputError, match="DIM\\) is 8, but 5 features have only 4 components; reduce it"):
        learn_whitening(features(num=5), WhiteningSettings(dim=8))


def test_saved_whitening_loads_bit_for_bit(tmp_path):
    learned = learn_whitening(features(), WhiteningSettings(dim=5, power=0.3), model="0f" * 32)
    for name in ("a", "b"):
        save_whitening(tmp_path / name, learned)
    loaded = load_whitening(tmp_path / "a")
    assert torch.equal(loaded.mean, learned.mean)
    assert torch.equal(loaded.matrix, learned.matrix)
    assert (loaded.model, loaded.power) == (learned.model, 0.3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: b"", lambda data: b"x" + data[1:]])
def test_load_rejects_damaged_file(tmp_path, damage):
    save_whitening(tmp_path / "a", learn_whitening(features(), WhiteningSettings()))
    (tmp_path / "a").write_bytes(damage((tmp_path / "a").read_bytes()))
    with pytest.raises(WeightsError, match="not a whitening file, or damaged"):
        load_whitening(tmp_path / "a")


def test_load_rejects_nan_and_mismatched_shapes(tmp_path):
    for mean, matrix in (
        (torch.zeros(3), torch.zeros(4, 2)),
        (torch.full((3,), torch.nan), torch.zeros(3, 2)),
        (torch.zeros(3), torch.zeros(3, 0)),
        (torch.zeros(0), torch.zeros(0, 2)),
        (torch.zeros(0), torch.zeros(0, 0)),
    ):
        save_whitening(tmp_path / "a", Whitening(mean, matrix))
        with pytest.raises(WeightsError, match="are empty, do not match or are not finite; learn a new one"):
            load_whitening(tmp_path / "a")


def test_load_rejects_missing_file():
    with pytest.raises(
        InputError, match="LEARN_FROM must be gallery, train or a whitening file, but there is no file nowhere"
    ):
        load_whitening("nowhere")


@pytest.mark.parametrize(
    ("choices", "message"), [({"dim": -1}, "DIM"), ({"power": 0.6}, "POWER"), ({"power": "1"}, "POWER")]
)
def test_settings_reject_values_outside_their_range(choices, message):
    with pytest.raises(InputError, match=message):
        WhiteningSettings(**choices)


@pytest.mark.parametrize(("width", "num_features", "max_dim"), [(12, 5, 4), (12, 13, 12), (3, 0, 3), (0, 7, 6)])
def test_settings_check_the_number_of_components(width, num_features, max_dim):
    WhiteningSettings(dim=max_dim).check(width=width, num_features=num_features)
    with pytest.raises(InputError, match=f"at most {max_dim} components"):
        WhiteningSettings(dim=max_dim + 1).check(width=width, num_features=num_features)


def test_whitening_rejects_invalid_features():
    learned = learn_whitening(features(), WhiteningSettings())
    with pytest.raises(InputError, match="learned from features of 12 floats, not 3"):
        learned(torch.ones(2, 3))
    with pytest.raises(InputError, match="at least 2 features, not 1"):
        learn_whitening(torch.ones(1, 3), WhiteningSettings())
    with pytest.raises(NumericalError, match="1 of 2 rows of features to learn whitening from"):
        learn_whitening(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), WhiteningSettings())


def test_whitening_rejects_feature_equal_to_the_mean():
    with pytest.raises(NumericalError, match="1 of 2 rows of whitened features are NaN, Inf or zero: rows 1"):
        Whitening(torch.tensor([0.0, 1.0]), torch.eye(2))(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))


def test_with_settings_equals_learning_with_these_settings():
    rows = features()
    whole, few = (learn_whitening(rows, WhiteningSettings(dim=dim)) for dim in (0, 3))
    assert torch.equal(whole.with_settings(WhiteningSettings(dim=3))(rows), few(rows))
    assert torch.equal(whole.with_settings(WhiteningSettings())(rows), whole(rows))
    assert torch.equal(few.with_settings(WhiteningSettings(dim=3))(rows), few(rows))
    with pytest.raises(InputError, match="has 3 components, not 5"):
        few.with_settings(WhiteningSettings(dim=5))
    with pytest.raises(InputError, match=r"learned with power \(TEST.WHITEN.POWER\) 0.5, not 0"):
        few.with_settings(WhiteningSettings(power=0.0))


@pytest.mark.parametrize("noise", [0, 1e-8])
def test_learning_rejects_equal_features(noise):
    rows = torch.ones(50, 12) + noise * torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NumericalError, match="50 features to learn whitening from are all equal"):
        learn_whitening(rows, WhiteningSettings())
