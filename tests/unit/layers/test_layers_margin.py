import math

import pytest
import torch

from fastreid.layers import ArcSoftmax, CircleSoftmax, CosSoftmax, Linear
from fastreid.utils.errors import InputError

MARGINS = [Linear, CosSoftmax, ArcSoftmax, CircleSoftmax]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0001, -1.0001, 1 - 6e-8])
def test_arc_margin_is_exact_with_finite_gradient_at_limits(cosine, dtype):
    x = torch.full((1, 2), cosine, dtype=dtype, requires_grad=True)
    out = ArcSoftmax(scale=64, margin=0.5)(x, torch.tensor([0]))
    out.sum().backward()
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    assert out[0, 0].item() == pytest.approx(64 * math.cos(angle + 0.5), abs=0.02)
    assert torch.isfinite(x.grad).all()


def test_arc_margin_adds_to_the_angle():
    angles = torch.linspace(0.1, 2.5, 9, dtype=torch.float64)
    out = ArcSoftmax(scale=1, margin=0.5)(angles.cos()[:, None], torch.zeros(9, dtype=torch.int64))
    assert torch.allclose(out[:, 0], (angles + 0.5).cos(), atol=1e-12)


@pytest.mark.parametrize("margin", MARGINS)
def test_target_of_minus_one_has_no_target_class(margin):
    scores = torch.linspace(-0.9, 0.9, 6).view(2, 3)
    out = margin(scale=2, margin=0.2)(scores, torch.tensor([-1, 1]))
    same = margin(scale=2, margin=0.2)(scores, torch.tensor([-1, -1]))
    assert torch.equal(out[0], same[0])


@pytest.mark.parametrize("margin", MARGINS)
def test_margins_use_float32_and_keep_their_input(margin):
    scores = torch.linspace(-0.9, 0.9, 6).view(2, 3)
    before, targets = scores.clone(), torch.tensor([0, 2])
    exact = margin(scale=64, margin=0.35)(scores, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(margin(scale=64, margin=0.35)(scores, targets), exact)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("options", [{"scale": 0}, {"margin": -0.1}, {"margin": 4.0}, {"scale": float("nan")}])
def test_scale_or_margin_out_of_range_raises(options):
    with pytest.raises(InputError, match="SCALE must be above 0 and MARGIN at least 0 and below pi"):
        CosSoftmax(**options)


def test_circle_margin_weights_each_cosine_by_its_distance_from_the_optimum():
    scores = torch.tensor([[0.5, 0.5, -0.5]], dtype=torch.float64)
    out = CircleSoftmax(scale=2, margin=0.25)(scores, torch.tensor([0]))
    target = 2 * (1 + 0.25 - 0.5) * (0.5 - (1 - 0.25))
    other = 2 * (0.5 + 0.25) * (0.5 - 0.25)
    assert out.tolist() == [[target, other, 0]]  # the weight of the last one, [-0.5 + 0.25]+, is 0
