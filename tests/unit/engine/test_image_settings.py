"""Settings of a test that differ from those of the run that saved the weights."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.config.config import iter_settings
from fastreid.engine.features.image_settings import find_changed_settings
from fastreid.engine.model import network as model_module
from fastreid.engine.model.network import build_model_with_weights
from fastreid.utils.logger import get_logger

NETWORK = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.PIXEL_STD", [58.395, 57.12, 57.375])


def cfg_with(*options):
    cfg = get_cfg()
    cfg.merge_from_list([*NETWORK, *options])
    cfg.freeze()
    return cfg


def find(saved, current):
    return find_changed_settings(saved.dump(), dict(iter_settings(current)))


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ((), []),
        (("INPUT.SIZE_TEST", [96, 64]), ["INPUT.SIZE_TEST was [256, 256] and is [96, 64]"]),
        (("INPUT.COLOR", "rgb"), ["INPUT.COLOR was gray and is rgb"]),
        (("INPUT.ASPECT", "pad"), ["INPUT.ASPECT was squash and is pad", "INPUT.FILL was unused and is 255"]),
        (("INPUT.FILL", 0, "INPUT.CROP.SIZE", [9, 9], "INPUT.INK_CROP.MARGIN", 0.1), []),
        (("MODEL.PIXEL_STD", [1.0, 1.0, 1.0]), ["MODEL.PIXEL_STD was [58.395, 57.12, 57.375] and is [1.0, 1.0, 1.0]"]),
        (("MODEL.PIXEL_STD", []), []),
        (("INPUT.SIZE_TRAIN", [96, 96], "SOLVER.BASE_LR", 0.5, "TEST.FLIP.ENABLED", True), []),
        (("TEST.SCALES", [0.7, 1.0], "TEST.GEM_POWER", 4.0), []),
    ],
)
def test_changed_settings_are_named(options, changes):
    assert find(cfg_with(), cfg_with(*options)) == changes


@pytest.mark.parametrize("text", [None, "", "a.yml", "lr: 0.1", "a: [1", {"lr": 0.1}, b"x", torch.zeros(1)])
def test_config_of_another_project_is_not_compared(text):
    assert find_changed_settings(text, dict(iter_settings(cfg_with("INPUT.SIZE_TEST", [96, 64])))) == []


def test_setting_that_is_newer_than_the_checkpoint_had_its_default():
    current = dict(iter_settings(cfg_with("INPUT.COLOR", "rgb")))
    assert find_changed_settings("INPUT: {SIZE_TEST: [256, 256]}", current) == ["INPUT.COLOR was gray and is rgb"]


@pytest.mark.parametrize("size", [[256, 256], [128, 128]])
def test_loading_weights_warns_once(size, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(get_logger(), "warning", warnings.append)
    network = model_module.build_model(cfg_with(), num_classes=1)
    torch.save({"model": network.state_dict(), "config": cfg_with().dump()}, tmp_path / "w.pth")
    build_model_with_weights(cfg_with("MODEL.WEIGHTS", str(tmp_path / "w.pth"), "INPUT.SIZE_TEST", size))
    expected = (
        f"{tmp_path}/w.pth: other settings than in the run that saved it, so the features differ: "
        "INPUT.SIZE_TEST was [256, 256] and is [128, 128]"
    )
    assert warnings == ([expected] if size == [128, 128] else [])
