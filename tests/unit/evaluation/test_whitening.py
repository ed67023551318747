import pytest
import torch

from fastreid.evaluation import Whitening, WhiteningSettings, learn_whitening
from fastreid.evaluation.postprocess.whitening import load_whitening, save_whitening
from fastreid.utils.errors import InputError, NumericalError, WeightsError


def features(num=400, width=12):
    generator = torch.Generator().manual_seed(0)
    turn = torch.randn(width, width, generator=generator)
    return torch.randn(num, width, generator=generator) @ turn + torch.randn(width, generator=generator)


def projected(whitening, rows):
    """Whitened but not yet of length 1."""
    unit = torch.nn.functional.normalize(rows.double())
    return (unit - whitening.mean.double()) @ whitening.matrix.double()


def test_whitened_features_have_mean_zero_and_every_direction_the_same_variance():
    rows = features()
    turned = projected(learn_whitening(rows, WhiteningSettings()), rows)
    torch.testing.assert_close(turned.mean(0), torch.zeros(12, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(turned.T @ turned / len(rows), torch.eye(12, dtype=torch.float64), rtol=0, atol=1e-3)


def test_without_power_it_is_principal_components_and_keeps_all_distances():
    rows = features()
    turned = projected(learn_whitening(rows, WhiteningSettings(power=0.0)), rows)
    unit = torch.nn.functional.normalize(rows.double())
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(unit, unit), rtol=0, atol=1e-5)
    assert (turned.var(0).diff() <= 0).all()


def test_only_the_directions_asked_for_are_kept_the_largest_first():
    rows = features()
    whole, part = (learn_whitening(rows, WhiteningSettings(dim=dim)) for dim in (0, 3))
    assert torch.equal(part.matrix, whole.matrix[:, :3])
    assert part(rows).shape == (400, 3)
    torch.testing.assert_close(part(rows).norm(dim=1), torch.ones(400))


def test_few_features_give_fewer_directions_than_floats():
    assert learn_whitening(features(num=5), WhiteningSettings()).matrix.shape == (12, 4)
    with pytest.raises(InputError, match="DIM\\) is 8, but 5 features vary in 4 directions; ask for fewer"):
        learn_whitening(features(num=5), WhiteningSettings(dim=8))


def test_what_was_learnt_comes_back_from_its_file_bit_for_bit(tmp_path):
    learnt = learn_whitening(features(), WhiteningSettings(dim=5, power=0.3), model="0f" * 32)
    for name in ("a", "b"):
        save_whitening(tmp_path / name, learnt)
    back = load_whitening(tmp_path / "a")
    assert torch.equal(back.mean, learnt.mean)
    assert torch.equal(back.matrix, learnt.matrix)
    assert (back.model, back.power) == (learnt.model, 0.3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: b"", lambda data: b"x" + data[1:]])
def test_a_damaged_file_is_refused(tmp_path, damage):
    save_whitening(tmp_path / "a", learn_whitening(features(), WhiteningSettings()))
    (tmp_path / "a").write_bytes(damage((tmp_path / "a").read_bytes()))
    with pytest.raises(WeightsError, match="not a whitening file, or damaged"):
        load_whitening(tmp_path / "a")


def test_a_file_that_holds_no_numbers_or_other_shapes_is_refused(tmp_path):
    for mean, matrix in ((torch.zeros(3), torch.zeros(4, 2)), (torch.full((3,), torch.nan), torch.zeros(3, 2))):
        save_whitening(tmp_path / "a", Whitening(mean, matrix))
        with pytest.raises(WeightsError, match="do not fit; learn it anew"):
            load_whitening(tmp_path / "a")


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(
        InputError, match="LEARN_FROM is database, train or a file of whitening, and there is no file nowhere"
    ):
        load_whitening("nowhere")


@pytest.mark.parametrize(
    ("choices", "words"), [({"dim": -1}, "DIM"), ({"power": 0.6}, "POWER"), ({"power": "1"}, "POWER")]
)
def test_whitening_refuses_choices_that_mean_nothing(choices, words):
    with pytest.raises(InputError, match=words):
        WhiteningSettings(**choices)


def test_whitening_refuses_other_widths_one_feature_and_bad_rows():
    learnt = learn_whitening(features(), WhiteningSettings())
    with pytest.raises(InputError, match="learnt from 12 floats a row, not 3"):
        learnt(torch.ones(2, 3))
    with pytest.raises(InputError, match="2 features or more"):
        learn_whitening(torch.ones(1, 3), WhiteningSettings())
    with pytest.raises(NumericalError, match="1 of 2 rows of features to learn whitening from"):
        learn_whitening(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), WhiteningSettings())


def test_a_feature_at_the_mean_has_no_direction_and_is_named():
    with pytest.raises(NumericalError, match="1 of 2 rows of whitened features are NaN, Inf or zero: rows 1"):
        Whitening(torch.tensor([0.0, 1.0]), torch.eye(2))(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))


def test_fewer_directions_of_what_was_learnt_are_those_of_learning_fewer():
    rows = features()
    whole, few = (learn_whitening(rows, WhiteningSettings(dim=dim)) for dim in (0, 3))
    assert torch.equal(whole.with_settings(WhiteningSettings(dim=3))(rows), few(rows))
    assert torch.equal(whole.with_settings(WhiteningSettings())(rows), whole(rows))
    with pytest.raises(InputError, match="has 3 directions, not 5"):
        few.with_settings(WhiteningSettings(dim=5))
    with pytest.raises(InputError, match=r"learnt with power \(TEST.WHITEN.POWER\) 0.5, not 0"):
        few.with_settings(WhiteningSettings(power=0.0))


@pytest.mark.parametrize("noise", [0, 1e-8])
def test_features_that_are_all_the_same_teach_nothing(noise):
    rows = torch.ones(50, 12) + noise * torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NumericalError, match="50 features to learn whitening from are all the same"):
        learn_whitening(rows, WhiteningSettings())
