"""Local features as rows of a network: positions of an inner map, and the ink in their cells."""

import numpy as np
import pytest
import torch
from tiny_backbone import TinyBackbone
from torch import nn

from fastreid.engine.features.local_extraction import LocalNetwork
from fastreid.utils.errors import InputError


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = TinyBackbone()

    def forward(self, images):
        return self.backbone(images).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


def build(network, *, module="", grid=2):
    return LocalNetwork(network, module=module, grid=grid, size_px=(32, 48), device=torch.device("cpu"))


def test_row_has_the_ink_and_the_mean_of_the_map_in_each_cell(network):
    images = 255 * torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    with torch.no_grad():
        rows = build(network, module="conv1").eval()(images).numpy()
        maps = network.backbone.conv1(images).numpy()
    assert rows.shape == (2, 1 + 4 + 4 * 16)
    for row, image, values in zip(rows, images[:, 0].numpy(), maps):
        expected = [1.0]
        cells = [(top, left) for top in (0, 1) for left in (0, 1)]
        for top, left in cells:
            expected.append((255 - image[16 * top : 16 * top + 16, 24 * left : 24 * left + 24]).mean() / 255)
        for top, left in cells:
            expected.extend(values[:, 4 * top : 4 * top + 4, 6 * left : 6 * left + 6].mean(axis=(1, 2)))
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


def test_blank_drawing_has_no_ink_and_its_row_is_not_zero(network):
    with torch.no_grad():
        row = build(network)(torch.full((1, 3, 32, 48), 255.0))[0]
    assert row[0] == 1
    assert not row[1:5].any()


def test_unknown_module_and_module_without_a_map_raise(network):
    with pytest.raises(InputError, match=r"TEST\.LOCAL\.MODULE 'conv3' is unknown\. Did you mean 'conv\d'\?"):
        build(network, module="conv3")
    network.backbone.unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(InputError, match=r"TEST\.LOCAL\.MODULE unused returns no map of \(32, 48\) px images"):
        build(network, module="unused")(torch.zeros(1, 3, 32, 48))
    del network.backbone.unused
    network.backbone.body = nn.Sequential(nn.Conv2d(1, 1, 1))  # as in the backbone of a timm network
    with pytest.raises(InputError, match=r"Available: (?:(?!body).)*0(?:(?!body).)*$"):
        build(network, module="unknown")
    del network.backbone.body
