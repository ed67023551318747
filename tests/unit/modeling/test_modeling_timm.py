import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling import build_model, load_pretrained_backbone
from fastreid.utils.errors import EnvironmentSetupError, InputError


class FakeTimmModel(nn.Module):
    """Network with the interface of timm models: `num_features`, `forward_features`."""

    def __init__(self, shape):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, stride=4)
        self.num_features = 12
        self.shape = shape

    def forward_features(self, images):
        maps = self.conv(images)
        return {"map": maps, "tokens": maps.flatten(2).transpose(1, 2), "last": maps.permute(0, 2, 3, 1)}[self.shape]


@pytest.fixture
def fake_timm(monkeypatch):
    """Replace timm by a fake module with three networks; return the list of its calls."""
    calls, fake = [], ModuleType("timm")
    fake.is_model = lambda name: name in ("map", "tokens", "last")
    fake.create_model = lambda name, **options: calls.append(options) or FakeTimmModel(name)
    monkeypatch.setitem(sys.modules, "timm", fake)
    return calls


def config(name="map", feat_dim=12, path=""):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", name]
        + ["MODEL.BACKBONE.FEAT_DIM", feat_dim, "MODEL.BACKBONE.PRETRAIN_PATH", path]
    )
    return cfg


def test_missing_timm_raises_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EnvironmentSetupError, match=r"pip install 'fastreid\[timm\]'"):
        build_model(config(), num_classes=2)


def test_timm_network_is_created_without_weights(fake_timm):
    model = build_model(config(), num_classes=2).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 12)
    assert fake_timm == [{"pretrained": False, "num_classes": 0, "global_pool": ""}]


@pytest.mark.parametrize("name", ["", "resnet_50"])
def test_unknown_timm_name_raises(fake_timm, name):
    with pytest.raises(InputError, match="TIMM_NAME"):
        build_model(config(name), num_classes=2)


@pytest.mark.parametrize("name", ["tokens", "last"])
def test_features_without_map_raise(fake_timm, name):
    with pytest.raises(InputError, match=r"not a map \(B, 12, H, W\)"):
        build_model(config(name), num_classes=2).eval()(torch.rand(2, 3, 32, 36))


def test_feat_dim_must_match_the_network(fake_timm):
    with pytest.raises(InputError, match="set FEAT_DIM 12"):
        build_model(config(feat_dim=2048), num_classes=2)


def test_pretrained_weights_need_a_file(fake_timm, tmp_path):
    file = tmp_path / "net.pth"
    torch.save(
        {"conv.weight": torch.ones(12, 3, 3, 3), "conv.bias": torch.zeros(12), "head.fc.weight": torch.ones(9)}, file
    )
    cfg = config(path=str(file))
    model = build_model(cfg, num_classes=2)
    assert str(load_pretrained_backbone(cfg, model)) == "loaded 2/2 tensors; ignored 1: head.fc.weight"
    assert torch.equal(model.backbone.body.conv.weight, torch.ones(12, 3, 3, 3))
    with pytest.raises(InputError, match=r"set MODEL\.BACKBONE\.PRETRAIN_PATH"):
        load_pretrained_backbone(config(), model)
