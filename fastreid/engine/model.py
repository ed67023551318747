"""Build the network of a config and load its weights."""

import os
from collections.abc import Sequence

from torch import nn

from fastreid.config import CfgNode
from fastreid.config.config import iter_settings
from fastreid.engine.image_settings import find_changed_settings
from fastreid.engine.setup import resolve_device
from fastreid.modeling import build_model
from fastreid.modeling.backbones import ResNet, TimmBackbone
from fastreid.modeling.build import load_pretrained_backbone
from fastreid.modeling.probe import find_unreached_parameters
from fastreid.modeling.weights import extract_model_state, format_names, load_state, read_weights
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

CLASSIFIER_WEIGHT = "heads.weight"  # the only tensor that depends on the training patents


def build_model_with_weights(cfg: CfgNode, *, random_weights: bool = False) -> nn.Module:
    """Build the network of a config, load MODEL.WEIGHTS, and move it to its device.

    A warning names the settings that change the features and differ from those of the run that saved the weights.

    Args:
        cfg: settings.
        random_weights: build an untrained network and ignore MODEL.WEIGHTS.

    Raises:
        InputError: MODEL.WEIGHTS is empty or does not exist, or a timm network does not accept INPUT.SIZE_TEST.
        WeightsError: the weights do not fit the network.
    """
    if random_weights:
        model = build_model(cfg, num_classes=cfg.MODEL.HEADS.NUM_CLASSES or 1)
        _check_test_size(cfg, model)
        return to_device(cfg, model)
    content = read_weights(require_weights_file(cfg))
    state = extract_model_state(content, source=cfg.MODEL.WEIGHTS)
    changes = find_changed_settings(content.get("config"), dict(iter_settings(cfg)))
    if changes:
        get_logger().warning(
            f"{cfg.MODEL.WEIGHTS}: other settings than in the run that saved it, so the features differ: "
            f"{'; '.join(changes)}"
        )
    has_classifier = CLASSIFIER_WEIGHT in state
    num_classes = len(state[CLASSIFIER_WEIGHT]) if has_classifier else cfg.MODEL.HEADS.NUM_CLASSES or 1
    model = build_model(cfg, num_classes=num_classes)
    _check_test_size(cfg, model)
    may_differ = () if has_classifier else (CLASSIFIER_WEIGHT,)
    report = load_state(model, state, may_differ=may_differ, may_lack_counters=True, source=cfg.MODEL.WEIGHTS)
    get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    return to_device(cfg, model)


def load_initial_weights(cfg: CfgNode, model: nn.Module) -> None:
    """Load the weights that training starts from into a new network.

    These are MODEL.WEIGHTS, else the ImageNet weights if MODEL.BACKBONE.PRETRAIN is True; otherwise the network keeps
    its random initialization. Only the classifier of MODEL.WEIGHTS may differ, because it belongs to other patents.
    """
    if cfg.MODEL.WEIGHTS:
        source, may_differ = cfg.MODEL.WEIGHTS, (CLASSIFIER_WEIGHT,)
        state = extract_model_state(read_weights(source), source=source)
        report = load_state(model, state, may_differ=may_differ, may_lack_counters=True, source=source)
        get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    elif cfg.MODEL.BACKBONE.PRETRAIN:
        for turn in range(comm.get_world_size()):  # process 0 downloads the file, then the others find it
            if turn == comm.get_rank():
                get_logger().info(f"ImageNet weights: {load_pretrained_backbone(cfg, model)}")
            comm.all_gather_object(None)


def freeze_unreached_parameters(cfg: CfgNode, model: nn.Module) -> None:
    """Freeze the parameters that the forward pass of the backbone does not reach; call it before building an optimizer.

    Several processes would wait for their gradients, and weight decay could change them. `ResNet` has none.

    Args:
        cfg: settings; INPUT has the size of the images.
        model: the network.

    Raises:
        InputError: a timm network does not accept images of INPUT.SIZE_TRAIN or INPUT.SIZE_TEST.
    """
    backbone = dict(model.named_children()).get("backbone")
    if backbone is None or isinstance(backbone, ResNet):
        return
    names = find_unreached_parameters(backbone, _image_size(cfg, cfg.INPUT.SIZE_TRAIN))
    for name in names:
        backbone.get_parameter(name).requires_grad_(False)
    if names:
        get_logger().info(
            f"{len(names)} parameters of the backbone are frozen, because its forward pass does not use them: "
            f"{format_names(names)}"
        )
    _check_test_size(cfg, model)


def _check_test_size(cfg: CfgNode, model: nn.Module) -> None:
    """Raise an InputError if a timm network does not accept images of INPUT.SIZE_TEST."""
    backbone = dict(model.named_children()).get("backbone")
    if isinstance(backbone, TimmBackbone):
        find_unreached_parameters(backbone, _image_size(cfg, cfg.INPUT.SIZE_TEST))


def _image_size(cfg: CfgNode, size_px: Sequence[int]) -> tuple[int, int]:
    """Return (H, W) of the network's images; a square if only the length of the short side is known."""
    size_px = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else size_px
    return size_px[0], size_px[-1]


def resolve_num_classes(cfg: CfgNode, num_patents: int) -> int:
    """Return the number of classes of the head: MODEL.HEADS.NUM_CLASSES, or the number of training patents if it is 0.

    Raises:
        InputError: MODEL.HEADS.NUM_CLASSES is less than the number of training patents.
    """
    num_classes: int = cfg.MODEL.HEADS.NUM_CLASSES
    if 0 < num_classes < num_patents:
        raise InputError(
            f"MODEL.HEADS.NUM_CLASSES is {num_classes} and the training list has {num_patents} patents; set it to 0"
        )
    return num_classes or num_patents


def to_device(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """Move a network to MODEL.DEVICE."""
    return model.to(resolve_device(cfg))


def require_weights_file(cfg: CfgNode) -> str:
    """Return MODEL.WEIGHTS.

    Raises:
        InputError: it is empty or not a file.
    """
    path = str(cfg.MODEL.WEIGHTS)
    if not path:
        raise InputError(
            "MODEL.WEIGHTS is empty; add MODEL.WEIGHTS path/to/model_best.pth, "
            "or test an untrained network with fastreid test --random-weights"
        )
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such weights file; check the path")
    return path
