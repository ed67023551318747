"""Builds networks from a config; registries of backbones, heads, pooling layers, classifiers and losses."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from yacs.config import CfgNode

from fastreid.config import legacy_names
from fastreid.layers import gem_pooling, margin_softmax, pooling
from fastreid.layers.norm import NORMS
from fastreid.modeling.backbones import hub, packages
from fastreid.modeling.backbones.pretrained import (
    check_path,
    find_published,
    load_backbone,
    load_pretrained,
    resolve_path,
)
from fastreid.modeling.backbones.resnet import ResNet, get_resnet_spec
from fastreid.modeling.backbones.timm_backbone import TimmBackbone
from fastreid.modeling.baseline import Baseline
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.losses.circle import CircleLoss
from fastreid.modeling.losses.cosface import CosfaceLoss
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.focal import FocalLoss
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.memory import MemoryBank
from fastreid.modeling.losses.triplet import TripletLoss
from fastreid.modeling.network_settings import resolve_network_settings
from fastreid.modeling.weights import LoadReport
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry


def build_model(cfg: CfgNode, num_classes: int, *, class_sizes: Sequence[int] = ()) -> nn.Module:
    """Build the network of a config on the CPU, with weights initialized from torch's default generator.

    Nothing is downloaded or loaded: see `load_pretrained_backbone` and `fastreid.modeling.weights`.

    Args:
        cfg: settings; only MODEL is used.
        num_classes: number of classes (training patents).
        class_sizes: number of training drawings of each class; only training with MODEL.HEADS.MARGIN_RANGE needs it.

    Raises:
        InputError: `num_classes` is less than 1, a name is unknown, or settings are incompatible.
    """
    if num_classes < 1:
        raise InputError(f"a network needs at least one class, not {num_classes}; check the training list")
    model = META_ARCHITECTURES.get(cfg.MODEL.META_ARCHITECTURE, "MODEL.META_ARCHITECTURE")(cfg, num_classes)
    heads = dict(model.named_children()).get("heads")
    if isinstance(heads, EmbeddingHead) and len(class_sizes):
        heads.set_class_sizes(class_sizes)
    return model


def check_model_names(cfg: CfgNode) -> None:
    """Look up the names of the network's parts; cheap, so that a typo is reported before any data is read.

    Raises:
        InputError: a name is unknown, or the settings of a loss are invalid.
    """
    backbone, heads = cfg.MODEL.BACKBONE, cfg.MODEL.HEADS
    META_ARCHITECTURES.get(cfg.MODEL.META_ARCHITECTURE, "MODEL.META_ARCHITECTURE")
    BACKBONES.get(backbone.NAME, "MODEL.BACKBONE.NAME")
    HEADS.get(heads.NAME, "MODEL.HEADS.NAME")
    POOLING.get(heads.POOL_LAYER, "MODEL.HEADS.POOL_LAYER")
    MARGINS.get(heads.CLS_LAYER, "MODEL.HEADS.CLS_LAYER")
    if backbone.NAME == "build_resnet_backbone":  # other backbones may have their own norms
        NORMS.get(backbone.NORM, "MODEL.BACKBONE.NORM")
        get_resnet_spec(backbone.DEPTH)
    if heads.NAME == "EmbeddingHead" and heads.WITH_BNNECK:
        NORMS.get(heads.NORM, "MODEL.HEADS.NORM")
    build_losses(cfg)


def load_pretrained_backbone(cfg: CfgNode, model: nn.Module) -> LoadReport:
    """Load pretrained weights into the backbone, from MODEL.BACKBONE.PRETRAIN_PATH or the published ones.

    Published weights are those of torchvision or IBN-Net for a ResNet, and those of timm for a timm network.

    Raises:
        InputError: the file does not exist, or there are no published weights for the backbone.
        EnvironmentSetupError: the package with the weights is not installed.
        StorageError: the download failed.
        WeightsError: the weights are damaged or do not match the network.
    """
    backbone = cfg.MODEL.BACKBONE
    path = backbone.PRETRAIN_PATH
    if path.startswith(packages.SCHEME):
        name = backbone.TIMM_NAME if backbone.NAME == "build_timm_backbone" else ""
        file = packages.locate_package_file(path, timm_name=name)
        return load_backbone(model.get_submodule("backbone"), file, is_published=True)
    if backbone.NAME == "build_resnet_backbone":
        return load_pretrained(
            model,
            depth=backbone.DEPTH,
            with_ibn=backbone.WITH_IBN,
            with_se=backbone.WITH_SE,
            path=path,
        )
    network = model.get_submodule("backbone")
    if isinstance(network, TimmBackbone) and (not path or path.startswith(hub.SCHEME)):
        return hub.load_from_hub(network, path)
    if not path:
        raise InputError(
            f"there are no published weights for {backbone.NAME}; set MODEL.BACKBONE.PRETRAIN_PATH to a file"
        )
    return load_backbone(network, resolve_path(path))


def check_pretrained_source(cfg: CfgNode) -> None:
    """Check that `load_pretrained_backbone` has a source of weights; nothing is downloaded.

    Raises:
        InputError: a file does not exist, a path has an invalid form, or there are no published weights.
        EnvironmentSetupError: the package with the weights is not installed.
        WeightsError: the file of the package is missing or has been changed.
    """
    backbone = cfg.MODEL.BACKBONE
    path, is_timm = backbone.PRETRAIN_PATH, backbone.NAME == "build_timm_backbone"
    if path.startswith(packages.SCHEME):
        packages.locate_package_file(path, timm_name=backbone.TIMM_NAME if is_timm else "")
    elif is_timm and (not path or path.startswith(hub.SCHEME)):
        hub.find_source(backbone.TIMM_NAME, path)
    elif path:
        check_path(path)
    elif backbone.NAME == "build_resnet_backbone":
        find_published(backbone.DEPTH, with_ibn=backbone.WITH_IBN, with_se=backbone.WITH_SE)


def _baseline(cfg: CfgNode, num_classes: int) -> Baseline:
    cfg = resolve_network_settings(cfg)
    backbone = build_backbone(cfg)
    if cfg.MODEL.BACKBONE.FEAT_DIM not in (0, backbone.feature_dim):
        raise InputError(
            f"MODEL.BACKBONE.FEAT_DIM is {cfg.MODEL.BACKBONE.FEAT_DIM}, but the backbone has {backbone.feature_dim} "
            f"output channels; set FEAT_DIM {backbone.feature_dim} or 0"
        )
    resolved = cfg.clone()  # the builders of heads, also those of users, find the number of channels in it
    resolved.MODEL.BACKBONE.FEAT_DIM = backbone.feature_dim
    resolved.freeze()
    memory = cfg.MODEL.LOSSES.MEMORY
    return Baseline(
        backbone,
        HEADS.get(cfg.MODEL.HEADS.NAME, "MODEL.HEADS.NAME")(resolved, num_classes),
        build_losses(cfg),
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        memory=MemoryBank(memory.SIZE, start=memory.START_ITER) if memory.SIZE else None,
    )


def build_backbone(cfg: CfgNode) -> Any:
    """Build the backbone of a config, with random weights; its attribute `feature_dim` is its number of channels."""
    return BACKBONES.get(cfg.MODEL.BACKBONE.NAME, "MODEL.BACKBONE.NAME")(cfg)


def build_losses(cfg: CfgNode) -> list[LossTerm]:
    """Build the terms of the training loss, in the order of MODEL.LOSSES.NAME."""
    names = cfg.MODEL.LOSSES.NAME
    return [LOSSES.get(name, "MODEL.LOSSES.NAME")(cfg) for name in ((names,) if isinstance(names, str) else names)]


def _resnet(cfg: CfgNode) -> ResNet:
    backbone = cfg.MODEL.BACKBONE
    unused = {"OUT_INDEX": [], "OUT_MODULES": [], "TOKENS": "class", "DROP_PATH": 0.0}
    for key, default in unused.items():
        value = backbone[key]
        if (list(value) if isinstance(value, (list, tuple)) else value) != default:
            raise InputError(
                f"MODEL.BACKBONE.{key} is {value}, which only build_timm_backbone uses; set it to {default!r}"
            )
    return ResNet(
        backbone.DEPTH,
        last_stride=backbone.LAST_STRIDE,
        norm=NORMS.get(backbone.NORM, "MODEL.BACKBONE.NORM"),
        with_ibn=backbone.WITH_IBN,
        with_se=backbone.WITH_SE,
        with_nl=backbone.WITH_NL,
        nl_wide=backbone.NL_WIDE,
        gradient_checkpointing=backbone.GRADIENT_CHECKPOINTING,
    )


def _timm(cfg: CfgNode) -> TimmBackbone:
    backbone = cfg.MODEL.BACKBONE
    return TimmBackbone(
        backbone.TIMM_NAME,
        out_index=backbone.OUT_INDEX,
        out_modules=backbone.OUT_MODULES,
        tokens=backbone.TOKENS,
        drop_path=backbone.DROP_PATH,
        gradient_checkpointing=backbone.GRADIENT_CHECKPOINTING,
        norm=backbone.NORM,
    )


def _embedding_head(cfg: CfgNode, num_classes: int) -> EmbeddingHead:
    heads = cfg.MODEL.HEADS
    return EmbeddingHead(
        cfg.MODEL.BACKBONE.FEAT_DIM,
        num_classes,
        pool=POOLING.get(heads.POOL_LAYER, "MODEL.HEADS.POOL_LAYER")(),
        margin=MARGINS.get(heads.CLS_LAYER, "MODEL.HEADS.CLS_LAYER")(scale=heads.SCALE, margin=heads.MARGIN),
        embedding_dim=heads.EMBEDDING_DIM,
        embedding_bias=heads.EMBEDDING_BIAS,
        norm=NORMS.get(heads.NORM, "MODEL.HEADS.NORM") if heads.WITH_BNNECK else None,
        neck_feat=heads.NECK_FEAT,
        partial_fc_ratio=heads.PARTIAL_FC_RATIO,
        num_sub_centers=heads.SUB_CENTERS,
        margin_range=heads.MARGIN_RANGE,
    )


def _cross_entropy(cfg: CfgNode) -> LossTerm:
    loss = cfg.MODEL.LOSSES.CE
    return LossTerm("loss_cls", CrossEntropyLoss(loss.EPSILON, loss.ALPHA), "logits", loss.SCALE)


def _focal(cfg: CfgNode) -> LossTerm:
    loss = cfg.MODEL.LOSSES.FL
    return LossTerm("loss_focal", FocalLoss(loss.ALPHA, loss.GAMMA), "logits", loss.SCALE)


def _triplet(cfg: CfgNode) -> LossTerm:
    loss = cfg.MODEL.LOSSES.TRI
    function = TripletLoss(loss.MARGIN, norm_feat=loss.NORM_FEAT, hard_mining=loss.HARD_MINING)
    return LossTerm(
        "loss_triplet",
        function,
        "pairs",
        loss.SCALE,
        stats_fn=function.compute_stats,
        collapse_value=function.collapse_value,
    )


def _circle(cfg: CfgNode) -> LossTerm:
    loss = cfg.MODEL.LOSSES.CIRCLE
    return LossTerm("loss_circle", CircleLoss(loss.MARGIN, loss.GAMMA), "pairs", loss.SCALE)


def _cosface(cfg: CfgNode) -> LossTerm:
    loss = cfg.MODEL.LOSSES.COSFACE
    return LossTerm("loss_cosface", CosfaceLoss(loss.MARGIN, loss.GAMMA), "pairs", loss.SCALE)


META_ARCHITECTURES: Registry[Callable[[CfgNode, int], nn.Module]] = Registry(
    "network", {"Baseline": _baseline}, substitutes=legacy_names.META_ARCHITECTURES
)

BACKBONES: Registry[Callable[[CfgNode], Any]] = Registry(
    "backbone",
    {
        "build_resnet_backbone": _resnet,
        "build_timm_backbone": _timm,
    },
    substitutes=legacy_names.BACKBONES,
)

HEADS: Registry[Callable[[CfgNode, int], nn.Module]] = Registry(
    "head", {"EmbeddingHead": _embedding_head}, substitutes=legacy_names.HEADS
)

POOLING: Registry[Callable[[], nn.Module]] = Registry(
    "pooling layer",
    {
        "GlobalAvgPool": pooling.GlobalAvgPool,
        "FastGlobalAvgPool": pooling.GlobalAvgPool,
        "GlobalMaxPool": pooling.GlobalMaxPool,
        "AdaptiveAvgMaxPool": pooling.AdaptiveAvgMaxPool,
        "ClipGlobalAvgPool": pooling.ClipGlobalAvgPool,
        "GeneralizedMeanPooling": gem_pooling.GeneralizedMeanPooling,
        "GeneralizedMeanPoolingP": gem_pooling.GeneralizedMeanPoolingP,
        "Identity": pooling.Identity,
        "Flatten": pooling.Flatten,
    },
    substitutes=legacy_names.POOLING,
)

MARGINS: Registry[Callable[..., margin_softmax.Margin]] = Registry(
    "classifier",
    {
        "Linear": margin_softmax.Linear,
        "CosSoftmax": margin_softmax.CosSoftmax,
        "ArcSoftmax": margin_softmax.ArcSoftmax,
        "CircleSoftmax": margin_softmax.CircleSoftmax,
    },
    substitutes=legacy_names.MARGINS,
)

LOSSES: Registry[Callable[[CfgNode], LossTerm]] = Registry(
    "loss",
    {
        "CrossEntropyLoss": _cross_entropy,
        "TripletLoss": _triplet,
        "CircleLoss": _circle,
        "Cosface": _cosface,
        "FocalLoss": _focal,
    },
    substitutes=legacy_names.LOSSES,
)
