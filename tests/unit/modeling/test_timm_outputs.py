"""Outputs, options and layers of real networks of timm."""

import pytest
import timm
import torch
from torch import nn

from fastreid.modeling.backbones import TimmBackbone
from fastreid.utils.errors import InputError

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
        ({"out_index": [-1, 3]}, r"OUT_INDEX is \[-1, 3\]; .* in ascending order: set it to \[3, -1\]$"),
        ({"out_index": [2, 2, 5, -1]}, r"each output can be used once, in ascending order: set it to \[2, -1\]$"),
        ({"out_modules": ["blocks.4", "blocks.4"]}, r"OUT_MODULES is \['blocks.4', 'blocks.4'\]; each module can be "),
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
