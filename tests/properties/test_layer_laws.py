import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid.layers import GeneralizedMeanPooling, GlobalAvgPool, cosine_distance, euclidean_distance
from fastreid.layers.attention import linear_attention
from fastreid.modeling.losses.circle import CircleLoss
from fastreid.modeling.losses.cosface import CosfaceLoss
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.focal import FocalLoss
from fastreid.modeling.losses.triplet import TripletLoss

SEEDS = st.integers(0, 2**31)
LOSSES = [
    CrossEntropyLoss(0.1),
    CrossEntropyLoss(-1.0),
    FocalLoss(),
    TripletLoss(0.0),
    TripletLoss(0.3, hard_mining=True),
    TripletLoss(0.0, norm_feat=True),
    CircleLoss(),
    CosfaceLoss(),
]
few_examples = settings(max_examples=25, deadline=None)


def sample(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@few_examples
@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_generalized_mean_of_power_one_is_the_mean(seed, height, width):
    maps = sample(seed, 2, 3, height, width).abs() + 1e-6
    assert torch.allclose(GeneralizedMeanPooling(power=1.0).double()(maps), GlobalAvgPool()(maps), rtol=1e-12)


@few_examples
@given(SEEDS, st.floats(0.5, 30), st.floats(0.01, 100))
def test_generalized_mean_is_bounded_monotonic_and_homogeneous(seed, power, factor):
    maps = sample(seed, 1, 4, 3, 3).abs() + 0.01
    mean = GeneralizedMeanPooling(power=power).double()(maps)
    assert (mean <= maps.amax(dim=(2, 3), keepdim=True) * (1 + 1e-9)).all()
    assert (mean >= maps.amin(dim=(2, 3), keepdim=True) * (1 - 1e-9)).all()
    assert (GeneralizedMeanPooling(power=power + 1).double()(maps) >= mean * (1 - 1e-9)).all()
    assert torch.allclose(GeneralizedMeanPooling(power=power).double()(maps * factor), mean * factor, rtol=1e-9)


@few_examples
@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.integers(1, 4))
def test_linear_attention_equals_the_quadratic_form(seed, height, width, channels):
    theta, phi, g = sample(seed, 3, 2, channels, height, width)
    similarity = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / (height * width)
    quadratic = (similarity @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(theta.shape)
    assert torch.allclose(linear_attention(theta, phi, g), quadratic, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@few_examples
@given(SEEDS)
def test_losses_do_not_depend_on_batch_order(loss, seed):
    x, targets = sample(seed, 8, 12), torch.arange(4).repeat_interleave(2)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(loss(x, targets), loss(x[order], targets[order]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@few_examples
@given(SEEDS, st.floats(1e-3, 1e3))
def test_losses_are_nonnegative_with_finite_gradients(loss, seed, size):
    x = (sample(seed, 8, 12).float() * size).requires_grad_()
    value = loss(x, torch.arange(4).repeat_interleave(2))
    value.backward()
    assert value >= -1e-6
    assert torch.isfinite(value)
    assert torch.isfinite(x.grad).all()


@few_examples
@given(SEEDS, st.floats(0.1, 10))
def test_focal_loss_with_gamma_zero_is_cross_entropy(seed, alpha):
    x, y = sample(seed, 2, 6, 5).unbind()
    x, y = x.requires_grad_(), x.detach().clone().requires_grad_()
    targets = torch.randint(5, (6,), generator=torch.Generator().manual_seed(seed))
    FocalLoss(alpha=alpha, gamma=0.0)(x, targets).backward()
    (alpha * CrossEntropyLoss()(y, targets)).backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-12)


@few_examples
@given(SEEDS, st.integers(2, 20), st.floats(0, 0.9))
def test_cross_entropy_matches_torch_label_smoothing(seed, num_classes, epsilon):
    logits = sample(seed, 6, num_classes)
    targets = torch.randint(num_classes, (6,), generator=torch.Generator().manual_seed(seed))
    smoothing = min(1.0, epsilon * num_classes / (num_classes - 1))
    if smoothing < 1:
        expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        assert torch.allclose(CrossEntropyLoss(epsilon)(logits, targets), expected, rtol=1e-9)


@few_examples
@given(SEEDS)
def test_distances_are_symmetric_with_triangle_inequality(seed):
    x = sample(seed, 6, 5)
    distance = euclidean_distance(x, x)
    assert torch.allclose(distance, distance.T, atol=1e-6)
    assert (distance[:, :, None] <= distance[:, None, :] + distance.T[None] + 1e-5).all()
    assert torch.allclose(cosine_distance(x * 3, x), cosine_distance(x, x), atol=1e-12)
