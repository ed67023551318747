from dataclasses import replace

import numpy as np
import pytest
import torch
from random_embeddings import make_embeddings

from fastreid.evaluation import Evaluator, WhiteningSettings, learn_whitening
from fastreid.evaluation.pipeline import Step
from fastreid.evaluation.postprocess.negatives import NegativeSettings, subtract_negatives
from fastreid.evaluation.steps import SubtractNegatives, Whiten
from fastreid.utils.errors import InputError, NumericalError


def random_rows(num, width=12, seed=0):
    return torch.randn(num, width, generator=torch.Generator().manual_seed(seed)) * (seed + 1)


def subtract_with_plain_loops(features, background, *, k, beta, times):
    def unit(row):
        return row / np.sqrt((row * row).sum())

    negatives = [unit(row) for row in background.double().numpy()]
    rows = [unit(row) for row in features.double().numpy()]
    for _ in range(times):
        for index, row in enumerate(rows):
            nearest = sorted(range(len(negatives)), key=lambda j: -float(np.dot(row, negatives[j])))[:k]
            mean = sum(negatives[j] for j in nearest) / len(nearest)
            rows[index] = unit(row - beta * mean)
    return np.stack(rows)


@pytest.mark.parametrize(("k", "beta", "times"), [(10, 0.35, 3), (1, 0.9, 1), (5, 0.2, 4), (500, 0.5, 2)])
def test_subtraction_equals_plain_loops(k, beta, times):
    features, background = random_rows(30), random_rows(50, seed=1)
    moved = subtract_negatives(features, background, NegativeSettings(k, beta, times))
    expected = subtract_with_plain_loops(features, background, k=k, beta=beta, times=times)
    np.testing.assert_allclose(moved.numpy(), expected, atol=1e-6)
    assert moved.dtype == torch.float32


def test_beta_0_only_normalizes():
    features = random_rows(30)
    moved = subtract_negatives(features, random_rows(50, seed=1), NegativeSettings(beta=0.0))
    torch.testing.assert_close(moved, torch.nn.functional.normalize(features))


def test_orthogonal_negatives_move_all_features_alike():
    features, background = torch.eye(6)[:3], torch.eye(6)[5:]
    moved = subtract_negatives(features, background, NegativeSettings(k=1, beta=0.5, times=1))
    torch.testing.assert_close(moved, torch.nn.functional.normalize(features - 0.5 * background))


def test_subtraction_does_not_depend_on_memory_budget_or_other_features():
    features, background = random_rows(1500, width=64), random_rows(800, width=64, seed=1)
    small, large = (subtract_negatives(features, background, NegativeSettings(), memory_mb=mb) for mb in (1, 1024))
    assert torch.equal(small, large)
    assert torch.equal(subtract_negatives(features[1100:1200], background, NegativeSettings()), small[1100:1200])


def test_features_and_background_are_not_modified():
    features, background = random_rows(30), random_rows(50, seed=1)
    copies = features.clone(), background.clone()
    subtract_negatives(features, background, NegativeSettings())
    assert torch.equal(features, copies[0])
    assert torch.equal(background, copies[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"k \(TEST.NEGATIVE.K\) must be an integer of at least 1, not 0"),
        ({"times": 0}, r"times \(TEST.NEGATIVE.TIMES\) must be an integer of at least 1, not 0"),
        ({"beta": 1.5}, r"beta \(TEST.NEGATIVE.BETA\) must be a number from 0 to 1, not 1.5"),
        ({"beta": float("nan")}, "must be a number from 0 to 1, not nan"),
    ],
)
def test_invalid_settings_are_rejected(options, message):
    with pytest.raises(InputError, match=message):
        NegativeSettings(**options)


def test_feature_equal_to_its_negatives_is_rejected():
    with pytest.raises(NumericalError, match=r"1 features equal the mean of their negatives.*TEST\.NEGATIVE\.BETA"):
        subtract_negatives(torch.eye(3)[:2], torch.eye(3)[:1] * 7, NegativeSettings(k=1, beta=1.0, times=1))


def test_invalid_background_is_named():
    with pytest.raises(NumericalError, match="rows of the background set are NaN, Inf or zero: rows 2"):
        subtract_negatives(torch.eye(3), torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 0]]), NegativeSettings())


STEP = SubtractNegatives(NegativeSettings(k=4))


def test_step_moves_queries_and_gallery():
    sides, training = make_embeddings(), random_rows(40, width=32, seed=2)
    result = Evaluator(steps=[STEP])(*sides, training=lambda: training)
    moved = [replace(side, features=subtract_negatives(side.features, training, STEP.settings)) for side in sides]
    assert [name for name, _ in result.steps] == ["search", "- negatives"]
    assert result.scores == Evaluator()(*moved).scores != result.steps[0][1]


def test_background_is_whitened_like_the_features():
    sides, calls = make_embeddings(), []

    def extract_training():
        calls.append(1)
        return random_rows(80, width=32, seed=2)

    settings = WhiteningSettings(dim=8)
    result = Evaluator(steps=[Whiten(settings, "train"), STEP])(*sides, training=extract_training)
    assert len(calls) == 1  # both steps use it
    whitening, training = learn_whitening(extract_training(), settings), extract_training()
    whitened = [replace(side, features=whitening(side.features)) for side in sides]
    expected = Evaluator(steps=[STEP])(*whitened, training=lambda: whitening(training))
    assert result.scores == expected.scores


def test_step_without_training_features_fails_before_the_search(monkeypatch):
    monkeypatch.delattr("fastreid.evaluation.evaluator.FeatureDistances")  # the search
    with pytest.raises(InputError, match=r"TEST.NEGATIVE subtracts .*; extract them with fastreid extract --split all"):
        Evaluator(steps=[STEP])(*make_embeddings())


def test_change_of_width_before_the_step_is_explained():
    class KeepHalf(Step):
        name, works_on = "+ half", "features"

        def __call__(self, state):
            return state.with_features(state.space.queries[:, :16], state.space.gallery[:, :16])

    training = random_rows(40, width=32, seed=2)
    with pytest.raises(InputError, match="training features have 32 floats, but those of this step have 16"):
        Evaluator(steps=[KeepHalf(), STEP])(*make_embeddings(), training=lambda: training)
