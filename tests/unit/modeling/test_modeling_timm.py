import copy
import sys
from types import ModuleType

import pytest
import timm
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


SWIN_V2 = pytest.param("swinv2_tiny_window8_256", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", SWIN_V2, "vit_tiny_patch16_224"])
def test_transformers_equal_timm_at_their_own_size_and_accept_others(name):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, tokens="patches").eval()
    fixed = timm.create_model(name, num_classes=0).eval()
    fixed.load_state_dict(backbone.body.state_dict())
    size = backbone.own_size_px
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        maps, expected = backbone(images), fixed.forward_features(images)
        other = backbone(torch.rand(1, 3, 192, 320))
    if name.startswith("vit"):
        expected = expected[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    else:
        expected = expected.permute(0, 3, 1, 2)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-5)
    patch_px = size[0] // expected.shape[2]
    assert other.shape == (1, backbone.feature_dim, 192 // patch_px, 320 // patch_px)


def test_maps_from_inside_are_those_of_timm():
    backbone = TimmBackbone("mobilenetv2_100", out_index=[3, -1]).eval()
    by_name = TimmBackbone("mobilenetv2_100", out_modules=["blocks.5", "blocks.4"]).eval()
    by_name.load_state_dict(backbone.state_dict())
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        output, maps = backbone.body.forward_intermediates(images)
        inner, last = backbone(images)
        block_5, block_4 = by_name(images)
    assert torch.equal(inner, maps[3])
    assert torch.equal(last, output)
    assert torch.equal(block_4, maps[3])
    assert block_5.shape == (1, 160, 2, 3)
    assert (backbone.feature_dim, by_name.feature_dim) == (96 + 1280, 160 + 96)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"out_index": [6]},
            r"OUT_INDEX is \[6\]; mobilenetv2_100 has the outputs 0 to 5: 5 maps with 16, 24, 32, ",
        ),
        (
            {"out_modules": ["blocks.9"]},
            r"OUT_MODULES 'blocks.9' is unknown. Did you mean 'blocks.6'\?",
        ),
        ({"out_modules": ["global_pool"]}, "OUT_MODULES: mobilenetv2_100 does not use global_pool"),
        ({"out_index": [0], "out_modules": ["blocks.4"]}, "only one of MODEL.BACKBONE.OUT_INDEX and OUT_MODULES"),
        ({"norm": "GhostBN"}, "NORM is GhostBN; a timm network keeps its norms"),
    ],
)
def test_invalid_options_of_a_timm_network_raise(options, message):
    with pytest.raises(InputError, match=message):
        TimmBackbone("mobilenetv2_100", **options)


def test_channels_of_modules_are_found_in_any_layout():
    images = torch.rand(1, 3, 64, 96)
    for name, modules, shapes in (
        ("test_vit", ["patch_embed"], [(1, 64, 4, 6)]),
        ("test_vit", ["blocks.1", "patch_embed"], [(1, 64), (1, 64, 4, 6)]),
        ("test_convnext", ["stages.1"], [(1, 32, 8, 12)]),
    ):
        backbone = TimmBackbone(name, out_modules=modules).eval()
        with torch.no_grad():
            outputs = backbone(images)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        assert [tuple(output.shape) for output in outputs] == shapes
        assert backbone.feature_dim == sum(shape[1] for shape in shapes)


@pytest.mark.parametrize("norm", ["FrozenBN", "syncBN"])
def test_norms_that_a_network_lacks_are_an_error(norm):
    with pytest.raises(InputError, match="test_vit has no batch norm; set it to BN"):
        TimmBackbone("test_vit", norm=norm)


def test_network_without_stochastic_depth_rejects_drop_path():
    with pytest.raises(InputError, match=r"DROP_PATH is 0\.1, but vgg11 has no stochastic depth; set it to 0"):
        TimmBackbone("vgg11", drop_path=0.1)


def test_frozen_batch_norms_stay_as_they_are_in_training():
    backbone = TimmBackbone("resnet10t", norm="FrozenBN").train()
    before = {name: value.clone() for name, value in backbone.state_dict().items() if "running" in name}
    backbone(torch.rand(2, 3, 64, 64)).sum().backward()
    assert before
    assert all(torch.equal(value, backbone.state_dict()[name]) for name, value in before.items())
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(parameter.grad is None for module in norms for parameter in module.parameters())


def test_gradient_checkpointing_gives_the_same_gradients():
    images, gradients = torch.rand(2, 3, 64, 64), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = TimmBackbone("convnext_atto", gradient_checkpointing=checkpointing)
        backbone(images).square().sum().backward()
        gradients.append(backbone.body.stem[0].weight.grad)
    torch.testing.assert_close(*gradients)


def test_stages_cover_all_parameters_once_in_order():
    backbone = TimmBackbone("vit_tiny_patch16_224")
    names = [name for group in backbone.stages.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in backbone.named_parameters())
    assert list(backbone.stages) == ["stem", *(f"layer{number}" for number in range(1, 13))]
    assert "body.pos_embed" in backbone.stages["stem"]
    assert "body.blocks.11.mlp.fc2.bias" in backbone.stages["layer12"]


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
