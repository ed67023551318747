"""Build the network of a config and load its weights."""

import os

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.setup import resolve_device
from fastreid.modeling import build_model
from fastreid.modeling.build import load_pretrained_backbone
from fastreid.modeling.weights import extract_model_state, load_state, read_weights
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

CLASSIFIER_WEIGHT = "heads.weight"  # the only tensor that depends on the training patents


def build_model_with_weights(cfg: CfgNode, *, random_weights: bool = False) -> nn.Module:
    """Build the network of a config, load MODEL.WEIGHTS, and move it to its device.

    Args:
        cfg: settings.
        random_weights: build an untrained network and ignore MODEL.WEIGHTS.

    Raises:
        InputError: MODEL.WEIGHTS is empty or does not exist.
        WeightsError: the weights do not fit the network.
    """
    if random_weights:
        return to_device(cfg, build_model(cfg, num_classes=cfg.MODEL.HEADS.NUM_CLASSES or 1))
    state = extract_model_state(read_weights(require_weights_file(cfg)))
    has_classifier = CLASSIFIER_WEIGHT in state
    num_classes = len(state[CLASSIFIER_WEIGHT]) if has_classifier else cfg.MODEL.HEADS.NUM_CLASSES or 1
    model = build_model(cfg, num_classes=num_classes)
    may_differ = () if has_classifier else (CLASSIFIER_WEIGHT,)
    report = load_state(model, state, may_differ=may_differ, source=cfg.MODEL.WEIGHTS)
    get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    return to_device(cfg, model)


def load_initial_weights(cfg: CfgNode, model: nn.Module) -> None:
    """Load the weights that training starts from into a new network.

    These are MODEL.WEIGHTS, else the ImageNet weights if MODEL.BACKBONE.PRETRAIN is True; otherwise the network keeps
    its random initialization. Only the classifier of MODEL.WEIGHTS may differ, because it belongs to other patents.
    """
    if cfg.MODEL.WEIGHTS:
        state = extract_model_state(read_weights(cfg.MODEL.WEIGHTS))
        report = load_state(model, state, may_differ=(CLASSIFIER_WEIGHT,), source=cfg.MODEL.WEIGHTS)
        get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    elif cfg.MODEL.BACKBONE.PRETRAIN:
        for turn in range(comm.get_world_size()):  # process 0 downloads the file, then the others find it
            if turn == comm.get_rank():
                get_logger().info(f"ImageNet weights: {load_pretrained_backbone(cfg, model)}")
            comm.all_gather_object(None)


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
