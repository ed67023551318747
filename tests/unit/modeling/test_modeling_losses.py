import pytest
import torch
import torch.nn.functional as F

from fastreid.modeling.losses.circle import CircleLoss
from fastreid.modeling.losses.cosface import CosfaceLoss
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.focal import FocalLoss
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.triplet import TripletLoss, weighted_negative
from fastreid.utils.errors import InputError

TARGETS = torch.tensor([0, 0, 1, 1])


def test_cross_entropy_averages_over_all_drawings():
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.0, 200.0], [0.0, 200.0]])
    assert CrossEntropyLoss()(logits, torch.tensor([1, 1, 1, 1])).item() == pytest.approx(50.0)


def test_cross_entropy_of_one_class_is_zero():
    assert CrossEntropyLoss(0.1)(torch.randn(3, 1), torch.zeros(3, dtype=torch.int64)).item() == 0.0


def test_label_smoothing_is_split_among_other_classes():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    log_probs = logits.log_softmax(1)[0]
    expected = -(0.8 * log_probs[0] + 0.1 * log_probs[1] + 0.1 * log_probs[2])
    assert CrossEntropyLoss(0.2)(logits, torch.tensor([0])).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_triplet_loss_without_negatives_is_zero(hard, margin):
    x = torch.randn(4, 8, requires_grad=True)
    loss = TripletLoss(margin, hard_mining=hard)(x, torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(x.grad, torch.zeros(4, 8))


@pytest.mark.parametrize("distance", [12.0, 50.0, 193.0, 1e4, 1e15])
def test_weighted_mining_keeps_large_distances(distance):
    distances = torch.full((2, 4), distance)
    is_negative = torch.tensor([[False, False, True, True]] * 2)
    assert weighted_negative(distances, is_negative).tolist() == pytest.approx([distance] * 2, rel=5e-3)


def test_soft_margin_does_not_overflow():
    x = torch.tensor([[0.0], [1e4], [0.0], [1e4]], requires_grad=True)
    loss = TripletLoss(0.0, hard_mining=True)(x, TARGETS)
    loss.backward()
    assert loss.item() == pytest.approx(1e4, rel=1e-6)
    assert torch.isfinite(x.grad).all()


def test_hard_triplets_match_a_loop():
    x, targets = torch.randn(12, 5, dtype=torch.float64), torch.arange(4).repeat_interleave(3)
    losses = []
    for row in range(12):
        distances = [(x[row] - other).norm() for other in x]
        positive = max(d for d, target in zip(distances, targets, strict=True) if target == targets[row])
        negative = min(d for d, target in zip(distances, targets, strict=True) if target != targets[row])
        losses.append(max(0.0, (positive - negative + 0.3).item()))
    assert TripletLoss(0.3, hard_mining=True)(x, targets).item() == pytest.approx(sum(losses) / 12)


@pytest.mark.parametrize("loss", [TripletLoss(0.0), TripletLoss(0.3, hard_mining=True), CircleLoss(), CosfaceLoss()])
def test_metric_losses_are_unchanged_by_autocast(loss):
    x = torch.randn(4, 2048, generator=torch.Generator().manual_seed(0)) * 0.02 + 1
    exact = loss(x, TARGETS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(x, TARGETS), exact)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_gradient_is_finite_at_probability_one(gamma):
    x = torch.tensor([[300.0, 0.0], [0.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=gamma)(x, torch.tensor([0, 1])).backward()
    assert torch.isfinite(x.grad).all()


def test_cosface_loss_of_one_pair_each():
    x, y = torch.tensor([1.0, 0.0]), F.normalize(torch.tensor([3.0, 4.0]), dim=0)
    loss = CosfaceLoss(0.25, 2.0)(torch.stack([x, x, y]), torch.tensor([0, 0, 1]))
    assert loss.item() == pytest.approx(2 / 3 * F.softplus(2 * (0.6 + 0.25) - torch.tensor(2.0)).item(), rel=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: CrossEntropyLoss(1.0),
        lambda: CrossEntropyLoss(-0.5),
        lambda: CrossEntropyLoss(-1.0, 2.0),
        lambda: TripletLoss(-0.1),
        lambda: TripletLoss(float("nan")),
        lambda: CircleLoss(gamma=0),
        lambda: CosfaceLoss(-1),
        lambda: FocalLoss(gamma=-1),
        lambda: LossTerm("loss_cls", CrossEntropyLoss(), "logits", 0.0),
    ],
)
def test_values_out_of_range_raise(build):
    with pytest.raises(InputError, match=r"must be .* not"):
        build()


@pytest.mark.parametrize(("margin", "active"), [(0.3, 1 / 4), (0.0, 3 / 4)])
def test_active_triplets(margin, active):
    """p - n is -1.2, -0.2, -1.2 and -9: a margin of 0.3 activates one triplet, a soft margin three."""
    x = torch.tensor([[0.0], [1.0], [2.2], [11.2]])
    targets = torch.tensor([0, 0, 1, 2])
    assert TripletLoss(margin, hard_mining=True).compute_stats(x, targets)["active_triplets"].item() == pytest.approx(
        active
    )
