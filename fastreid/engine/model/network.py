"""Build the network of a config and load its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid.config import CfgNode
from fastreid.config.config import iter_settings
from fastreid.data.datasets.base import encode_labels
from fastreid.engine.features.image_scales import ONE_SCALE
from fastreid.engine.features.image_settings import find_changed_settings
from fastreid.engine.model.directory import (
    WEIGHTS_FILE,
    contains_backbone,
    read_directory_state,
    select_network_settings,
)
from fastreid.engine.model.onnx_network import load_onnx_network
from fastreid.engine.model.weights_source import (
    ONNXRUNTIME,
    find_initial_weights,
    find_named_weights,
    find_weights,
    uses_pretrained_backbone,
)
from fastreid.engine.resume.data_fingerprint import get_classes
from fastreid.engine.setup import load_config, resolve_device
from fastreid.modeling import build_model
from fastreid.modeling.backbones import ResNet, TimmBackbone
from fastreid.modeling.build import load_pretrained_backbone
from fastreid.modeling.probe import find_unreached_parameters
from fastreid.modeling.weights import extract_model_state, format_names, load_state, read_weights
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.allocator import keep_freed_memory
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.logger import get_logger

IN_TORCH = ("TEST.RUNTIME", "torch")
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
    if cfg.TEST.RUNTIME == ONNXRUNTIME:
        return _load_exported(cfg, random_weights=random_weights)
    if random_weights:
        if cfg.MODEL.BACKBONE.PRETRAIN:
            get_logger().info("random weights: the pretrained ones are not loaded; MODEL.WEIGHTS pretrained tests them")
        model = build_model(cfg, num_classes=cfg.MODEL.HEADS.NUM_CLASSES or 1)
        _check_test_size(cfg, model)
        return to_device(cfg, model)
    source = find_weights(cfg)
    if source.is_pretrained:
        return to_device(cfg, _build_pretrained(cfg))
    content = read_weights(source.name if source.directory is None else source.directory / WEIGHTS_FILE)
    state = extract_model_state(content, source=cfg.MODEL.WEIGHTS)
    changes = find_changed_settings(content.get("config"), dict(iter_settings(cfg)))
    if changes:
        get_logger().warning(
            f"{cfg.MODEL.WEIGHTS}: other settings than in the run that saved it, so the features differ: "
            f"{'; '.join(changes)}"
        )
    has_classifier = CLASSIFIER_WEIGHT in state
    num_classes = _count_classes(cfg, state) if has_classifier else cfg.MODEL.HEADS.NUM_CLASSES or 1
    model = build_model(cfg, num_classes=num_classes)
    _check_test_size(cfg, model)
    if source.directory is not None:
        state = _complete_directory_state(cfg, source.directory, model)
    may_differ = () if has_classifier else (CLASSIFIER_WEIGHT,)
    report = load_state(model, state, may_differ=may_differ, may_lack_counters=True, source=cfg.MODEL.WEIGHTS)
    if not has_classifier:  # features do not need one
        others = {name: reason for name, reason in report.reinitialized.items() if name != CLASSIFIER_WEIGHT}
        report = replace(report, num_total=report.num_total - 1, reinitialized=others)
    get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    return to_device(cfg, model)


def _load_exported(cfg: CfgNode, *, random_weights: bool) -> nn.Module:
    """Open the exported network of MODEL.WEIGHTS.

    Raises:
        InputError: a setting belongs to networks in torch, or is part of the file.
    """
    if random_weights:
        raise InputError("TEST.RUNTIME onnxruntime has no random weights; use TEST.RUNTIME torch")
    source = find_weights(cfg)
    device = resolve_device(cfg)
    network = load_onnx_network(
        Path(source.name), device=device, num_threads=cfg.TEST.NUM_THREADS, size_px=image_size(cfg, cfg.INPUT.SIZE_TEST)
    )
    record = network.record
    scales = tuple(cfg.TEST.SCALES)
    settings = (
        ("MODEL.COMPILE", cfg.MODEL.COMPILE, "True is for networks in torch; set it to False"),
        ("TEST.NETWORK_PRECISION", cfg.TEST.NETWORK_PRECISION != "float32", "is part of the file; set it to float32"),
        ("TEST.GEM_POWER", cfg.TEST.GEM_POWER, "is part of the file; set it to 0"),
        ("TEST.FLIP.ENABLED", cfg.TEST.FLIP.ENABLED and record.flip, "is part of the file; set it to False"),
        ("TEST.SCALES", record.size_px and scales != ONE_SCALE, "needs a file for any size; export it with --any-size"),
    )
    for name, is_set, message in settings:
        if is_set:
            raise InputError(f"TEST.RUNTIME onnxruntime: {name} {message}")
    own = select_network_settings(cfg)
    changes = sorted(name for name in record.network.keys() | own.keys() if record.network.get(name) != own.get(name))
    if changes:
        raise InputError(
            f"{cfg.MODEL.WEIGHTS}: the exported network has its settings inside; leave out the others "
            f"({', '.join(changes)}), or export the network again with them"
        )
    get_logger().info(
        f"{cfg.MODEL.WEIGHTS}: {network.record.precision} in onnxruntime on {device}, {network.num_threads} threads"
    )
    return network


def read_network(path: str) -> dict[str, Any]:
    """Return the network of a weights file, a model directory or a shipped model, in the form of a checkpoint.

    Args:
        path: as for MODEL.WEIGHTS.

    Returns:
        `model`: the state dict; `config`: text of the settings, and `data`: the fingerprint of the training data, if
        the file has them. A model directory has no classifier; its backbone is complete.

    Raises:
        InputError: there is no such file, directory or model.
        WeightsError: the weights are damaged.
    """
    source = find_named_weights(path)
    if source.directory is None:
        content = read_weights(source.name)
        extras = {key: content[key] for key in ("config", "data") if key in content}
        return extras | {"model": extract_model_state(content, source=path)}
    cfg = load_config(None, ["MODEL.WEIGHTS", str(source.directory), *IN_TORCH, "MODEL.DEVICE", "cpu"])
    state = build_model_with_weights(cfg).state_dict()
    return {"model": {name: state[name] for name in state if name != CLASSIFIER_WEIGHT}, "config": cfg.dump()}


def _build_pretrained(cfg: CfgNode) -> nn.Module:
    """Build the network with the pretrained weights of its backbone, and a head without random weights.

    Raises:
        InputError: the head has a reduction layer, which would be random.
    """
    if cfg.MODEL.HEADS.EMBEDDING_DIM:
        raise InputError(
            f"MODEL.WEIGHTS pretrained has no weights for the reduction layer of the head; set "
            f"MODEL.HEADS.EMBEDDING_DIM to 0, not {cfg.MODEL.HEADS.EMBEDDING_DIM}, or train the head"
        )
    model = build_model(cfg, num_classes=cfg.MODEL.HEADS.NUM_CLASSES or 1)
    _check_test_size(cfg, model)
    _load_pretrained_in_turn(cfg, model)
    return model


def _complete_directory_state(cfg: CfgNode, folder: Path, model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model directory; a missing backbone is that of the package in its settings."""
    if not contains_backbone(folder):
        _load_pretrained_in_turn(cfg, model)
    return read_directory_state(folder, model)


def _load_pretrained_in_turn(cfg: CfgNode, model: nn.Module) -> None:
    """Load the backbone's pretrained weights: process 0 downloads the file, then the others find it."""
    for turn in range(comm.get_world_size()):
        if turn == comm.get_rank():
            get_logger().info(f"pretrained weights: {load_pretrained_backbone(cfg, model)}")
        comm.all_gather_object(None)


def build_training_model(cfg: CfgNode, drawings: Sequence[Drawing]) -> nn.Module:
    """Build the network of a config for a training list, with random weights, and move it to its device.

    Raises:
        InputError: MODEL.HEADS.NUM_CLASSES is less than the number of training patents, or settings are incompatible.
    """
    targets, patents = encode_labels(drawings)
    num_classes = resolve_num_classes(cfg, len(patents))
    class_sizes = torch.bincount(torch.tensor(targets), minlength=num_classes).tolist()
    return to_device(cfg, build_model(cfg, num_classes, class_sizes=class_sizes))


def load_initial_weights(cfg: CfgNode, model: nn.Module, data: Mapping[str, Any] | None = None) -> None:
    """Load the weights that training starts from into a new network.

    These are MODEL.WEIGHTS, else the pretrained weights of the backbone if MODEL.BACKBONE.PRETRAIN is True; otherwise
    the network keeps its random initialization. Only the classifier of MODEL.WEIGHTS may differ, because it belongs to
    other patents. It is not loaded if the file shows that it does.

    Args:
        cfg: settings.
        model: the network.
        data: state of the `DataFingerprint` of the run; None: unknown.
    """
    source = find_initial_weights(cfg)
    if source is None:
        return
    if cfg.MODEL.BACKBONE.PRETRAIN_PATH and not uses_pretrained_backbone(source):
        get_logger().warning(
            f"MODEL.BACKBONE.PRETRAIN_PATH {cfg.MODEL.BACKBONE.PRETRAIN_PATH} is not used: MODEL.WEIGHTS contains the "
            "backbone"
        )
    if source.is_pretrained:
        _load_pretrained_in_turn(cfg, model)
        return
    if source.directory is None:
        content = read_weights(source.name)
        state = extract_model_state(content, source=source.name)
        if CLASSIFIER_WEIGHT in state and _has_other_patents(get_classes(content.get("data")), get_classes(data)):
            state = {name: tensor for name, tensor in state.items() if name != CLASSIFIER_WEIGHT}
            get_logger().info(f"{source.name}: has other training patents, so its classifier is not loaded")
    else:
        state = _complete_directory_state(cfg, source.directory, model)
    may_differ = (CLASSIFIER_WEIGHT,)
    report = load_state(model, state, may_differ=may_differ, may_lack_counters=True, source=cfg.MODEL.WEIGHTS)
    get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")


def _has_other_patents(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether records of `get_classes` show other classes; an empty one shows nothing."""
    return bool(before and now) and before["labels"] != now["labels"]


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
    names = find_unreached_parameters(backbone, image_size(cfg, cfg.INPUT.SIZE_TRAIN))
    for name in names:
        backbone.get_parameter(name).requires_grad_(False)
    if names:
        get_logger().info(
            f"{len(names)} parameters of the backbone are frozen, because its forward pass does not use them: "
            f"{format_names(names)}"
        )
    _check_test_size(cfg, model)


def _count_classes(cfg: CfgNode, state: Mapping[str, Tensor]) -> int:
    """Return the number of classes of the classifier in a file.

    Raises:
        WeightsError: its rows are not a multiple of MODEL.HEADS.SUB_CENTERS.
    """
    num_sub_centers: int = cfg.MODEL.HEADS.SUB_CENTERS
    num_rows = len(state[CLASSIFIER_WEIGHT])
    if num_rows % num_sub_centers:
        raise WeightsError(
            f"{cfg.MODEL.WEIGHTS}: its classifier has {num_rows} rows, not a multiple of MODEL.HEADS.SUB_CENTERS "
            f"{num_sub_centers}; set SUB_CENTERS as in the run that saved it"
        )
    return num_rows // num_sub_centers


def _check_test_size(cfg: CfgNode, model: nn.Module) -> None:
    """Raise an InputError if a timm network does not accept images of INPUT.SIZE_TEST."""
    backbone = dict(model.named_children()).get("backbone")
    if isinstance(backbone, TimmBackbone):
        find_unreached_parameters(backbone, image_size(cfg, cfg.INPUT.SIZE_TEST))


def image_size(cfg: CfgNode, size_px: Sequence[int]) -> tuple[int, int]:
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
    """Move a network to MODEL.DEVICE; on a CPU, freed memory then stays in the process."""
    device = resolve_device(cfg)
    if device.type == "cpu":
        keep_freed_memory()
    return model.to(device)
