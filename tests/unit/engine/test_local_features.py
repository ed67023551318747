"""The map of local features is found inside networks of different kinds."""

import pytest
import torch
from torch import nn

from fastreid.engine.features.local_features import LocalFeatureExtractor, arrange_map
from fastreid.utils.errors import InputError


class Convolutions(nn.Module):
    """Stages of the strides 4, 16, 16 and 32; the last module of stride 16 is inside the fourth stage."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 6, 4, 4), nn.Conv2d(6, 5, 3, 1, 1)]
        self.stages = nn.Sequential(*layers, nn.Sequential(nn.Conv2d(5, 7, 1), nn.Conv2d(7, 8, 2, 2)))

    def forward(self, images):
        return self.stages(images)


class Transformer(nn.Module):
    """Patches of 16 px with two tokens in front, then their mean."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 16, 16)
        self.norm = nn.LayerNorm(6)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        return self.norm(torch.cat((tokens[:, :2], tokens), dim=1)).mean(dim=1)


class Network(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, images):
        return self.backbone(images).flatten(1)


def make_extractor(backbone, size_px=(64, 96)):
    return LocalFeatureExtractor(Network(backbone), size_px, device=torch.device("cpu"))


def test_map_of_a_convolutional_network():
    backbone = Convolutions().train()
    extractor = make_extractor(backbone)
    levels = [torch.full((1, 64, 96), value, dtype=torch.uint8) for value in (10, 200)]
    maps = extractor.compute(levels)
    assert extractor.module == "stages.2"
    assert (maps.shape, maps.dtype) == ((2, 5, 4, 6), torch.float32)
    expected = backbone.stages[:3](torch.stack(levels).float().expand(-1, 3, -1, -1))
    torch.testing.assert_close(maps, expected.detach())
    torch.testing.assert_close(extractor.compute(levels[:1]), maps[:1])
    assert backbone.training  # as before
    assert backbone.stages[2]._forward_hooks == {}


def test_map_of_a_transformer():
    extractor = make_extractor(Transformer())
    maps = extractor.compute([torch.arange(64 * 96).view(1, 64, 96).to(torch.uint8)])
    assert extractor.module == "norm"
    assert maps.shape == (1, 6, 4, 6)


def test_outputs_that_are_maps():
    size = (64, 96)
    tokens = torch.rand(1, 25, 3)
    torch.testing.assert_close(arrange_map(tokens, size)[0, :, 1, 2], tokens[0, 1 + 6 + 2])
    assert arrange_map(torch.rand(1, 4, 6, 90), size).shape == (1, 90, 4, 6)  # channels last
    assert arrange_map(torch.rand(1, 9, 4, 6), size).shape == (1, 9, 4, 6)
    for other in (torch.rand(1, 9), torch.rand(1, 9, 1, 1), torch.rand(1, 1000, 3), (torch.rand(1, 9, 4, 6),), None):
        assert arrange_map(other, size) is None
    assert arrange_map(torch.zeros(1, 9, 4, 6, dtype=torch.int64), size) is None


def test_network_without_a_map():
    extractor = make_extractor(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(InputError, match="no map inside"):
        extractor.compute([torch.zeros(1, 64, 96, dtype=torch.uint8)])
