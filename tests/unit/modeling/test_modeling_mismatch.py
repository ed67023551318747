"""Messages about weights of another network, and files of fast-reid with frozen batch norm."""

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.weights import extract_model_state, load_state, read_weights
from fastreid.utils.errors import WeightsError


def build_network(*settings):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512])
    cfg.merge_from_list(["MODEL.HEADS.WITH_BNNECK", True, *settings])
    return build_model(cfg, num_classes=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["MODEL.BACKBONE.DEPTH", "34x"], "MODEL.BACKBONE.DEPTH is 18x, but the file has 34x"),
        (["MODEL.BACKBONE.WITH_IBN", True], "MODEL.BACKBONE.WITH_IBN is False, but the file has True"),
        (["MODEL.BACKBONE.WITH_SE", True], "MODEL.BACKBONE.WITH_SE is False, but the file has True"),
        (["MODEL.HEADS.EMBEDDING_DIM", 64], "MODEL.HEADS.EMBEDDING_DIM is 0, but the file has 64"),
        (["MODEL.HEADS.WITH_BNNECK", False], "MODEL.HEADS.WITH_BNNECK is True, but the file has False"),
        (
            ["MODEL.HEADS.EMBEDDING_DIM", 64, "MODEL.HEADS.EMBEDDING_BIAS", True, "MODEL.HEADS.WITH_BNNECK", False],
            "EMBEDDING_DIM is 0, but the file has 64; MODEL.HEADS.EMBEDDING_BIAS is False, but the file has True "
            "(as MODEL.HEADS.PROJECTION needs); MODEL.HEADS.WITH_BNNECK is True, but the file has False",
        ),
        (["MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP"], "has learnable (GeneralizedMeanPoolingP)"),
    ],
)
def test_mismatch_names_the_setting_that_differs(settings, message):
    other = extract_model_state(build_network(*settings).state_dict())
    with pytest.raises(WeightsError) as caught:
        load_state(build_network(), other)
    assert str(caught.value).endswith(message)


def test_mismatch_names_only_the_bias_of_the_reduction_layer():
    reduced = ["MODEL.HEADS.EMBEDDING_DIM", 64]
    plain = build_network(*reduced)
    biased = build_network(*reduced, "MODEL.HEADS.EMBEDDING_BIAS", True)
    with pytest.raises(
        WeightsError, match=r"bottleneck.0.bias: unknown to the model; MODEL\.HEADS\.EMBEDDING_BIAS is "
    ):
        load_state(plain, biased.state_dict())
    with pytest.raises(WeightsError, match=r"EMBEDDING_BIAS is True \(as .*\), but the file has False$"):
        load_state(biased, plain.state_dict())


def test_mismatch_names_non_local_blocks_and_their_width():
    bottleneck = ["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.FEAT_DIM", 2048]
    narrow = build_network(*bottleneck, "MODEL.BACKBONE.WITH_NL", True)
    with pytest.raises(WeightsError, match=r"WITH_NL is True, but the file has False$"):
        load_state(narrow, build_network(*bottleneck).state_dict())
    wide = build_network(*bottleneck, "MODEL.BACKBONE.WITH_NL", True, "MODEL.BACKBONE.NL_WIDE", True)
    with pytest.raises(WeightsError, match=r"NL_WIDE is False, but the file has True$"):
        load_state(narrow, wide.state_dict())


def test_mismatch_of_other_networks_names_no_resnet_setting():
    resnet = build_network()
    timm = {f"backbone.body.{name}": value for name, value in nn.Conv2d(3, 4, 3).state_dict().items()}
    head = {name: value for name, value in resnet.state_dict().items() if name.startswith("heads.")}
    model = nn.Module()
    model.backbone, model.heads = nn.Module(), resnet.heads
    model.backbone.body = nn.Linear(3, 3)
    messages = []
    for network, state in ((resnet, timm | head), (model, timm | head), (model, resnet.state_dict())):
        with pytest.raises(WeightsError) as caught:
            load_state(network, state)
        messages.append(str(caught.value).rpartition("; ")[2])
    assert messages[0] == "MODEL.BACKBONE.NAME is build_resnet_backbone, but the file has build_timm_backbone"
    assert messages[1].startswith("MODEL.BACKBONE.TIMM_NAME is another network than that of the file, or timm has")
    assert messages[2] == "MODEL.BACKBONE.NAME is build_timm_backbone, but the file has build_resnet_backbone"


def test_file_of_a_backbone_alone_is_explained():
    model = build_network()
    for state in (model.backbone.state_dict(), {f"backbone.{k}": v for k, v in model.backbone.state_dict().items()}):
        with pytest.raises(WeightsError, match=r"MODEL\.BACKBONE\.PRETRAIN_PATH and MODEL\.BACKBONE\.PRETRAIN True$"):
            load_state(model, state)


def test_frozen_batch_norm_of_fast_reid_loads_with_equal_features(tmp_path):
    """Its checkpoints have no counters; its norm is (x - mean) / sqrt(var + eps) * weight + bias."""
    settings = ["MODEL.BACKBONE.NORM", "FrozenBN", "MODEL.HEADS.NORM", "FrozenBN"]
    reference, model = build_network(*settings).double().eval(), build_network(*settings).eval()
    for norm in (module for module in reference.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), norm.weight.data.uniform_(0.5, 2)
    state = {name: value for name, value in reference.state_dict().items() if "num_batches" not in name}
    torch.save({"model": state}, tmp_path / "frozen.pth")
    loaded = extract_model_state(read_weights(tmp_path / "frozen.pth"))
    report = load_state(model, loaded, may_lack_counters=True)
    assert report.num_loaded == report.num_total
    images = torch.rand(2, 3, 64, 64) * 255
    expected = reference(images.double())
    assert (model(images) - expected).norm() / expected.norm() < 4e-7
    norm, maps = model.backbone.bn1, torch.rand(2, 64, 4, 4)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    own = maps * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]
    torch.testing.assert_close(norm(maps), own, rtol=4e-7, atol=4e-7)
