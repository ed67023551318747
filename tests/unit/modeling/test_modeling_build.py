import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.build import BACKBONES, HEADS, LOSSES, MARGINS, META_ARCHITECTURES, NORMS, POOLING
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.utils.errors import InputError

SMALL = ["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512]


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL, *options])
    cfg.freeze()
    return cfg


def train_step(*options):
    """Return the losses of one training step on tiny images."""
    torch.manual_seed(0)
    model = build_model(config(*options), num_classes=3).train()
    return model(torch.rand(4, 3, 32, 32) * 255, torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize("name", [name for name in POOLING.names() if name not in ("Identity", "Flatten")])
def test_every_pooling_layer_trains(name):
    assert torch.isfinite(train_step("MODEL.HEADS.POOL_LAYER", name)["loss_cls"])


@pytest.mark.parametrize("name", MARGINS.names())
def test_every_classifier_trains(name):
    assert torch.isfinite(train_step("MODEL.HEADS.CLS_LAYER", name, "MODEL.HEADS.SCALE", 16)["loss_cls"])


@pytest.mark.parametrize("name", NORMS.names())
def test_every_norm_trains_in_backbone_and_neck(name):
    losses = train_step("MODEL.BACKBONE.NORM", name, "MODEL.HEADS.NORM", name, "MODEL.HEADS.WITH_BNNECK", True)
    assert torch.isfinite(losses["loss_cls"])


def test_every_loss_trains_with_its_own_key():
    losses = train_step("MODEL.LOSSES.NAME", tuple(LOSSES.names()))
    assert set(losses) == {"loss_cls", "loss_circle", "loss_cosface", "loss_focal", "loss_triplet"}
    assert all(torch.isfinite(value) for value in losses.values())


def test_registered_names():
    assert META_ARCHITECTURES.names() == ["Baseline"]
    assert HEADS.names() == ["EmbeddingHead"]
    of_tests = ("tiny_backbone", "fixed_size")  # other tests of the same process may have added theirs
    own = [name for name in BACKBONES.names() if name not in of_tests]
    assert own == ["build_resnet_backbone", "build_timm_backbone"]


def test_model_depends_only_on_the_seed_and_is_on_the_cpu():
    first, second = (torch.manual_seed(5) and build_model(config(), num_classes=2) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(parameter.device.type == "cpu" for parameter in first.parameters())


def test_user_defined_loss_can_be_registered():
    def zero(cfg):
        return LossTerm("loss_mine", lambda features, targets: 0 * features.sum(), "features")

    LOSSES.register("Mine")(zero)
    try:
        assert train_step("MODEL.LOSSES.NAME", ("Mine",))["loss_mine"].item() == 0
    finally:
        LOSSES._builders.pop("Mine")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["MODEL.LOSSES.NAME", ("TripletLos",)],
            "MODEL.LOSSES.NAME 'TripletLos' is unknown. Did you mean 'TripletLoss'",
        ),
        (["MODEL.LOSSES.NAME", ()], "at least one loss|1 or more items"),
        (["MODEL.LOSSES.NAME", ("TripletLoss", "TripletLoss")], "each only once"),
        (["MODEL.HEADS.POOL_LAYER", "GeM"], "MODEL.HEADS.POOL_LAYER 'GeM' is unknown"),
        (["MODEL.HEADS.CLS_LAYER", "ArcSoft"], "MODEL.HEADS.CLS_LAYER 'ArcSoft' is unknown. Did you mean 'ArcSoftmax'"),
        (
            ["MODEL.BACKBONE.NAME", "build_vit_backbone"],
            "MODEL.BACKBONE.NAME 'build_vit_backbone' does not exist here; use",
        ),
        (["MODEL.BACKBONE.NAME", "build_resnets"], "MODEL.BACKBONE.NAME 'build_resnets' is unknown. Did you mean"),
        (
            ["MODEL.META_ARCHITECTURE", "Basline"],
            "MODEL.META_ARCHITECTURE 'Basline' is unknown. Did you mean 'Baseline'",
        ),
        (["MODEL.HEADS.NAME", "EmbedHead"], "MODEL.HEADS.NAME 'EmbedHead' is unknown. Did you mean 'EmbeddingHead'"),
        (["MODEL.BACKBONE.NORM", "LN"], "MODEL.BACKBONE.NORM 'LN' is unknown"),
        (["MODEL.BACKBONE.DEPTH", "152x"], "DEPTH '152x' is unknown"),
        (["MODEL.BACKBONE.FEAT_DIM", 2048], "set FEAT_DIM 512"),
        (["MODEL.BACKBONE.LAST_STRIDE", 3], "must be 1 or 2, not 3|from 1 to 2"),
        (["MODEL.BACKBONE.NL_WIDE", True], "NL_WIDE needs WITH_NL True"),
        (["MODEL.META_ARCHITECTURE", "MGN"], "MODEL.META_ARCHITECTURE 'MGN' does not exist here; use Baseline"),
        (["MODEL.HEADS.NAME", "ClasHead"], "MODEL.HEADS.NAME 'ClasHead' does not exist here; use EmbeddingHead"),
        (["MODEL.HEADS.NECK_FEAT", "middle"], "before or after|before, after"),
        (["MODEL.LOSSES.CE.SCALE", 0.0], "must be a number > 0"),
    ],
)
def test_invalid_settings_raise(options, message):
    with pytest.raises(InputError, match=message):
        build_model(config(*options), num_classes=3)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_network_without_classes_raises(num_classes):
    with pytest.raises(InputError, match="at least one class"):
        build_model(config(), num_classes=num_classes)
