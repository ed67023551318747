import copy
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model, load_pretrained_backbone
from fastreid.modeling.backbones import TimmBackbone
from fastreid.modeling.probe import find_unreached_parameters
from fastreid.utils.errors import EnvironmentSetupError, InputError, WeightsError


class FakeTimmModel(nn.Module):
    """Network with the interface of timm models: `num_features`, `forward_features`."""

    def __init__(self, shape):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, stride=4)
        self.num_features = 12
        self.shape = shape

    def forward_features(self, images):
        maps = self.conv(images)
        tokens = maps.flatten(2).transpose(1, 2)
        outputs = {"map": maps, "tokens": tokens, "last": maps.permute(0, 2, 3, 1), "list": [maps], "vector": maps[0]}
        return outputs[self.shape]


@pytest.fixture
def fake_timm(monkeypatch):
    """Replace timm by a fake module with a few networks; return the list of its calls."""
    calls, fake = [], ModuleType("timm")
    fake.list_models = lambda: ["map", "tokens", "last", "list", "vector"]
    fake.is_model = lambda name: name in fake.list_models()
    fake.get_pretrained_cfg = lambda name: None

    def create_model(name, *, dynamic_img_size=False, **options):
        if dynamic_img_size:  # as networks without position embeddings
            raise TypeError("got an unexpected keyword argument 'dynamic_img_size'")
        calls.append(options)
        return FakeTimmModel(name)

    fake.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", fake)
    return calls


def config(name="map", feat_dim=12, path=""):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", name]
        + ["MODEL.BACKBONE.FEAT_DIM", feat_dim, "MODEL.BACKBONE.PRETRAIN_PATH", path]
    )
    return cfg


def test_missing_timm_raises_with_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EnvironmentSetupError, match=r"pip install timm$"):
        build_model(config(), num_classes=2)


def test_timm_network_is_created_without_weights(fake_timm):
    model = build_model(config(), num_classes=2).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 12)
    assert fake_timm == [{"pretrained": False, "num_classes": 0, "global_pool": ""}]


@pytest.mark.parametrize("name", ["", "resnet_50"])
def test_unknown_timm_name_raises(fake_timm, name):
    with pytest.raises(InputError, match="TIMM_NAME"):
        build_model(config(name), num_classes=2)


def test_unknown_timm_name_has_a_suggestion(fake_timm):
    with pytest.raises(InputError, match=r"Did you mean 'tokens'\?"):
        build_model(config("tokenz"), num_classes=2)


@pytest.mark.parametrize(("name", "given"), [("list", "a list"), ("vector", r"\(12, 8, 9\)")])
def test_features_that_are_neither_map_nor_tokens_raise(fake_timm, name, given):
    message = rf"returns features {given}, neither a map \(B, 12, H, W\) nor tokens \(B, N, 12\)"
    with pytest.raises(InputError, match=message):
        TimmBackbone(name)(torch.rand(2, 3, 32, 36))


def test_channels_last_and_tokens_become_the_map(fake_timm):
    images, maps = torch.rand(2, 3, 32, 36), {}
    for name in ("map", "last", "tokens"):
        torch.manual_seed(0)
        maps[name] = TimmBackbone(name)(images)
    assert torch.equal(maps["last"], maps["map"])
    assert torch.equal(maps["tokens"], maps["map"].flatten(2).unsqueeze(3))


def test_class_token_is_a_vector_and_other_prefix_tokens_are_removed(fake_timm):
    images, backbone = torch.rand(2, 3, 32, 36), TimmBackbone("tokens")
    tokens = backbone(images)
    backbone.body.num_prefix_tokens = 4
    assert torch.equal(backbone(images), tokens[:, :, 4:])
    backbone.body.cls_token = nn.Parameter(torch.zeros(1))
    assert torch.equal(backbone(images), tokens[:, :, 0, 0])
    backbone.tokens = "patches"
    assert torch.equal(backbone(images), tokens[:, :, 4:])
    backbone.tokens = "both"
    class_token, patches = backbone(images)
    assert torch.equal(class_token, tokens[:, :, 0, 0])
    assert torch.equal(patches, tokens[:, :, 4:])


def test_network_that_accepts_only_its_own_pooling_is_created(monkeypatch, fake_timm):
    def create(name, **options):
        assert "global_pool" not in options, "only token pooling is supported"
        return FakeTimmModel(name)

    monkeypatch.setattr(sys.modules["timm"], "create_model", create)
    assert TimmBackbone("map").feature_dim == 12
    monkeypatch.setattr(sys.modules["timm"], "create_model", lambda name, **options: {}["missing package"])
    with pytest.raises(InputError, match=r"map: timm cannot create the network .*missing package"):
        TimmBackbone("map")


def test_unreached_parameters_are_found_without_side_effects(fake_timm):
    backbone = TimmBackbone("map")
    backbone.body.norm = nn.BatchNorm2d(12)  # not part of the forward pass
    state, generator = copy.deepcopy(backbone.state_dict()), torch.get_rng_state()
    names = find_unreached_parameters(backbone.eval(), (32, 36))
    assert names == ["body.norm.weight", "body.norm.bias"]
    assert all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not backbone.training
    assert all(parameter.grad is None for parameter in backbone.parameters())


class ReadsValues(nn.Module):
    """Backbone that cannot run on the meta device, with dropout, batch norm and an unused layer."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.unused = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(2, 2)

    def forward(self, images):
        maps = self.norm(self.conv(images))
        return nn.functional.dropout(maps * float(maps.max() + 1), training=self.training)


def test_network_that_reads_values_is_probed_on_its_device():
    backbone, generator = ReadsValues(), torch.get_rng_state()
    assert find_unreached_parameters(backbone, (8, 8)) == ["unused.weight", "unused.bias"]
    assert torch.equal(torch.get_rng_state(), generator)
    assert backbone.norm.num_batches_tracked == 0


def test_user_network_with_other_inputs_is_not_an_error():
    assert find_unreached_parameters(nn.Linear(3, 3), (8, 8)) == []


def test_unsupported_image_size_names_the_size_that_fits(fake_timm):
    backbone = TimmBackbone("map")
    backbone.body.conv = nn.Conv2d(3, 12, 64)
    backbone.body.default_cfg = {"input_size": (3, 64, 96)}
    with pytest.raises(InputError, match=r"map does not accept images of 32 x 36 px .* INPUT.SIZE_TEST to \[64, 96\]"):
        find_unreached_parameters(backbone, (32, 36))
    backbone.body.default_cfg = {"input_size": (3, 16, 16)}
    with pytest.raises(InputError, match=r"32 x 36 px \(.*\); choose another network"):
        find_unreached_parameters(backbone, (32, 36))


SMALL_NETWORKS = ("convnext_atto", "mobilenetv3_small_050", "ghostnet_050", "swin_tiny_patch4_window7_224")


@pytest.mark.parametrize("name", [*SMALL_NETWORKS, "vit_tiny_patch16_224", "levit_128s", "resnet10t"])
def test_real_timm_networks_train(name):
    backbone = TimmBackbone(name)
    unreached = find_unreached_parameters(backbone, (224, 224))
    assert bool(unreached) == (name in ("convnext_atto", "mobilenetv3_small_050", "ghostnet_050"))
    backbone(torch.rand(2, 3, 224, 224)).sum().backward()
    assert [key for key, value in backbone.named_parameters() if value.grad is None] == unreached


def test_real_timm_network_of_a_fixed_size_raises():
    with pytest.raises(InputError, match=r"images of 256 x 256 px .* INPUT.SIZE_TEST to \[224, 224\]"):
        find_unreached_parameters(TimmBackbone("levit_128s"), (256, 256))


def test_feat_dim_is_that_of_the_network_or_must_match_it(fake_timm):
    assert build_model(config(feat_dim=0), num_classes=2).heads.in_channels == 12
    with pytest.raises(InputError, match="set FEAT_DIM 12 or 0"):
        build_model(config(feat_dim=2048), num_classes=2)


def test_pixel_statistics_and_image_size_are_those_of_the_network():
    timm_name = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", "vit_tiny_patch16_224"]
    cfg = load_config(None, [*timm_name, "INPUT.SIZE_TEST", [], "INPUT.SIZE_TRAIN", [64, 32]])
    assert (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD) == ([127.5] * 3, [127.5] * 3)
    assert (cfg.INPUT.SIZE_TEST, cfg.INPUT.SIZE_TRAIN) == ([224, 224], [64, 32])
    own = load_config(None, [*timm_name, "MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0]])
    assert (own.MODEL.PIXEL_MEAN, own.MODEL.PIXEL_STD) == ([1.0, 2.0, 3.0], [127.5] * 3)
    assert load_config(None).MODEL.PIXEL_STD == [58.395, 57.12, 57.375]
    model = build_model(get_cfg(), num_classes=1)
    assert [round(value, 3) for value in model.pixel_mean.flatten().tolist()] == [123.675, 116.28, 103.53]


def test_pretrained_weights_need_a_file(fake_timm, tmp_path):
    file = tmp_path / "net.pth"
    torch.save(
        {"conv.weight": torch.ones(12, 3, 3, 3), "conv.bias": torch.zeros(12), "head.fc.weight": torch.ones(9)}, file
    )
    cfg = config(path=str(file))
    model = build_model(cfg, num_classes=2)
    assert str(load_pretrained_backbone(cfg, model)) == "loaded 2/2 tensors; ignored 1: head.fc.weight"
    assert torch.equal(model.backbone.body.conv.weight, torch.ones(12, 3, 3, 3))
    with pytest.raises(InputError, match=r"timm has no weights for map; set MODEL\.BACKBONE\.PRETRAIN_PATH"):
        load_pretrained_backbone(config(), model)
    torch.save({"state_dict": {f"backbone.body.{k}": v for k, v in model.backbone.body.state_dict().items()}}, file)
    assert str(load_pretrained_backbone(cfg, model)) == "loaded 2/2 tensors"
    torch.save({"conv.weight": torch.ones(12, 3, 5, 5)}, file)
    with pytest.raises(WeightsError, match=r"MODEL\.BACKBONE\.TIMM_NAME is another network than that of the file"):
        load_pretrained_backbone(cfg, model)
