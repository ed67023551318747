import pytest
import torch
from torch import nn

from fastreid.layers import GlobalAvgPool
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.triplet import TripletLoss
from fastreid.utils.errors import InputError

TARGETS = torch.tensor([0, 0, 1, 1])
TERMS = [LossTerm("loss_cls", CrossEntropyLoss(), "logits"), LossTerm("loss_triplet", TripletLoss(), "features", 2.0)]


def images(num=4, seed=0):
    return torch.rand(num, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 255


def build_network(losses=TERMS, mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        head = EmbeddingHead(8, 5, pool=GlobalAvgPool(), norm=nn.BatchNorm2d)
    return Baseline(backbone, head, losses, pixel_mean=mean, pixel_std=std)


@pytest.mark.parametrize("training", [True, False])
def test_images_are_not_modified(training):
    batch, model = images(), build_network().train(training)
    before = batch.clone()
    model(batch, TARGETS) if training else model(batch)
    assert torch.equal(batch, before)


def test_features_are_deterministic():
    batch, model = images(), build_network().eval()
    assert torch.equal(model(batch), model(batch))
    assert model(batch).shape == (4, 8)
    assert model(batch).dtype == torch.float32


def test_images_are_normalized_per_channel():
    captured = {}
    model = build_network().eval()
    model.backbone.register_forward_hook(lambda module, inputs, output: captured.update(x=inputs[0]))
    model(torch.tensor([100.0, 170.0, 50.0]).view(1, 3, 1, 1).expand(1, 3, 16, 16))
    assert captured["x"][0, :, 0, 0].tolist() == [0.0, 1.0, -1.0]


def test_losses_are_multiplied_by_their_scale():
    losses = build_network().train()(images(), TARGETS)
    half = [LossTerm(term.key, term.function, term.inputs, term.scale / 2) for term in TERMS]
    halved = build_network(half).train()(images(), TARGETS)
    assert list(losses) == ["loss_cls", "loss_triplet"]
    assert all(torch.allclose(losses[key], 2 * halved[key]) for key in losses)
    assert all(value.shape == () and value.requires_grad for value in losses.values())


def test_stats_have_accuracy_and_norm_without_gradient():
    model = build_network().train()
    captured = {}
    model.heads.register_forward_hook(lambda module, inputs, output: captured.update(out=output))
    losses, stats = model(images(), TARGETS, with_stats=True)
    assert set(losses) == {"loss_cls", "loss_triplet"}
    expected = (captured["out"].plain_logits.argmax(1) == TARGETS).float().mean()
    assert stats["cls_accuracy"] == expected
    assert torch.allclose(stats["feature_norm"], captured["out"].neck_features.norm(dim=1).mean())
    assert not any(value.requires_grad for value in stats.values())


def test_pixel_statistics_are_not_saved_but_converted():
    model = build_network()
    assert not [name for name in model.state_dict() if "pixel" in name]
    assert model.double().pixel_mean.dtype == torch.float64


def test_features_do_not_depend_on_batch_order():
    batch, model = images(), build_network().eval()
    assert torch.allclose(model(batch.flip(0)).flip(0), model(batch), atol=1e-6)


def test_losses_and_features_are_float32_under_autocast():
    model = build_network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.eval()(images()).dtype == torch.float32
        losses = model.train()(images(), TARGETS)
    assert all(value.dtype == torch.float32 for value in losses.values())


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda model: model.train()(images()), "needs the class of each image, .* not none"),
        (lambda model: model.train()(images(), TARGETS[:3]), r"int64 \(4,\), not torch.int64 \(3,\)"),
        (lambda model: model.train()(images(), TARGETS.float()), "not torch.float32"),
        (lambda model: model.train()(images(1), TARGETS[:1]), "at least 2 images per batch"),
        (lambda model: model.eval()(images(), TARGETS), "only allowed in training mode"),
        (lambda model: model.eval()(images()[:, :1]), r"not \(4, 1, 16, 16\)"),
        (lambda model: build_network(losses=[]), r"at least one loss, and each only once, not \[\]"),
        (lambda model: build_network(losses=TERMS[:1] * 2), "each only once"),
        (lambda model: build_network(std=(1.0, 1.0, 0.0)), "PIXEL_STD must be above 0"),
        (lambda model: build_network(mean=(1.0,)), "three values each"),
    ],
)
def test_misuse_raises(misuse, message):
    with pytest.raises(InputError, match=message):
        misuse(build_network())
