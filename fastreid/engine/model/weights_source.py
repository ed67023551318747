"""What MODEL.WEIGHTS names: a file, a model directory, or the pretrained weights of the backbone."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.engine.checkpoint.index import CheckpointIndex
from fastreid.engine.export.record import PROGRAM_FILE, RECORD_FILE, read_record
from fastreid.engine.model.directory import WEIGHTS_FILE, contains_backbone, find_model_directory, read_pretrain_path
from fastreid.modeling.backbones import packages
from fastreid.modeling.build import check_pretrained_source
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.files import compute_sha256

TRAINS_IN_TORCH = "TEST.RUNTIME onnxruntime runs exported networks, which are not trained; set TEST.RUNTIME torch"
ONNXRUNTIME = "onnxruntime"  # value of TEST.RUNTIME
PRETRAINED = "pretrained"  # MODEL.WEIGHTS: the backbone's pretrained weights, without training


@dataclass(frozen=True)
class WeightsSource:
    """The weights of a network.

    Args:
        name: absolute path of the file or directory, or "pretrained".
        directory: model directory; None: a file, or "pretrained".
        is_exported: the network in the directory runs in onnxruntime.
    """

    name: str
    directory: Path | None = None
    is_exported: bool = False

    @property
    def is_pretrained(self) -> bool:
        """Whether these are the pretrained weights of the backbone."""
        return self.name == PRETRAINED


def find_weights(cfg: CfgNode) -> WeightsSource:
    """Return what MODEL.WEIGHTS names.

    Raises:
        InputError: it is empty, or neither a file, a model directory, the name of a shipped model nor "pretrained"; or
            MODEL.BACKBONE.PRETRAIN_PATH is not that of a model directory without a backbone.
        WeightsError: a model directory has neither a backbone nor such a path.
    """
    path = str(cfg.MODEL.WEIGHTS)
    if not path:
        raise InputError(
            "MODEL.WEIGHTS is empty; add MODEL.WEIGHTS path/to/model_best.pth, MODEL.WEIGHTS pretrained to use the "
            "pretrained weights of the backbone, or test an untrained network with fastreid test --random-weights"
        )
    if path == PRETRAINED and cfg.TEST.RUNTIME != ONNXRUNTIME:
        return WeightsSource(PRETRAINED)
    if cfg.TEST.RUNTIME == ONNXRUNTIME:
        return _find_exported(path)
    source = find_named_weights(path)
    if source.directory is not None:
        _check_own_backbone(cfg, source.directory)
    return source


def find_named_weights(path: str) -> WeightsSource:
    """Return the weights of a file, a model directory, or a shipped model by its name.

    Raises:
        InputError: there is no such file, directory or model.
    """
    directory = find_model_directory(path)
    if directory is not None:
        if not (directory / WEIGHTS_FILE).is_file() and (directory / PROGRAM_FILE).is_file():
            raise InputError(
                f"{path}: has a torch.export program, which fastreid does not run; use torch.export.load, or export "
                "the network with --to onnx"
            )
        if not (directory / WEIGHTS_FILE).is_file():
            raise InputError(
                f"{path}: has an exported network only, which torch cannot read; give the weights it was exported from"
            )
        return WeightsSource(str(directory), directory)
    if path.endswith((".onnx", ".pt2")):
        raise InputError(f"{path}: give the folder that fastreid export wrote, {Path(path).parent}, not a file of it")
    if os.path.isdir(path):
        raise InputError(
            f"{path}: no such weights file; the folder is no model directory, which has config.yaml and "
            f"{WEIGHTS_FILE} or {RECORD_FILE}"
        )
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such weights file; check the path, or give a name of `fastreid models list`")
    return WeightsSource(os.path.abspath(path))


def _find_exported(path: str) -> WeightsSource:
    directory = find_model_directory(path)
    if directory is None or not (directory / RECORD_FILE).is_file():
        raise InputError(
            f"TEST.RUNTIME onnxruntime: MODEL.WEIGHTS {path} is no exported network; write one with fastreid export, "
            "or use TEST.RUNTIME torch"
        )
    return WeightsSource(str(directory), directory, is_exported=True)


def find_initial_weights(cfg: CfgNode) -> WeightsSource | None:
    """Return the weights from which a training run starts; None: random ones.

    These are MODEL.WEIGHTS, else the pretrained weights of the backbone if MODEL.BACKBONE.PRETRAIN is True.

    Raises:
        InputError: as `find_weights`.
    """
    if cfg.TEST.RUNTIME == ONNXRUNTIME:
        raise InputError(TRAINS_IN_TORCH)
    if cfg.MODEL.WEIGHTS:
        return find_weights(cfg)
    return WeightsSource(PRETRAINED) if cfg.MODEL.BACKBONE.PRETRAIN else None


def uses_pretrained_backbone(source: WeightsSource) -> bool:
    """Return whether weights are completed by the pretrained weights of the backbone."""
    if source.is_exported:
        return False
    return source.is_pretrained or (source.directory is not None and not contains_backbone(source.directory))


def check_initial_weights(cfg: CfgNode, *, resume: bool) -> None:
    """Check, before any data is read, that the weights exist from which a training run starts.

    Args:
        cfg: settings.
        resume: the run resumes from a checkpoint in OUTPUT_DIR, if there is one, and then needs no other weights.

    Raises:
        FastreidError: as `find_weights` and `check_pretrained_source`.
    """
    if resume and CheckpointIndex(cfg.OUTPUT_DIR).names():
        return
    source = find_initial_weights(cfg)
    if source is not None and uses_pretrained_backbone(source):
        check_pretrained_source(cfg)


def compute_weights_sha256(cfg: CfgNode) -> str:
    """Return a sha256 that identifies the weights of MODEL.WEIGHTS, to distinguish the features of different networks.

    For pretrained weights of the hub it covers their address, not their content.

    Raises:
        FastreidError: as `find_weights` and `check_pretrained_source`.
    """
    source = find_weights(cfg)
    if source.is_exported and source.directory is not None:
        return read_record(source.directory).weights_sha256
    if uses_pretrained_backbone(source):
        check_pretrained_source(cfg)
    if source.is_pretrained:
        return _hash_texts(PRETRAINED, *_describe_pretrained(cfg))
    if source.directory is None:
        return compute_sha256(source.name)
    digest = compute_sha256(source.directory / WEIGHTS_FILE)
    return _hash_texts(digest, *_describe_pretrained(cfg)) if uses_pretrained_backbone(source) else digest


def _check_own_backbone(cfg: CfgNode, directory: Path) -> None:
    """Check that a model directory without a backbone gets the one with which it was saved."""
    if contains_backbone(directory):
        return
    own, given = read_pretrain_path(directory), cfg.MODEL.BACKBONE.PRETRAIN_PATH
    if not own:
        raise WeightsError(
            f"{directory}: has neither a backbone nor MODEL.BACKBONE.PRETRAIN_PATH in its config.yaml; save it again "
            "with fastreid models save"
        )
    if given != own:
        raise InputError(
            f"MODEL.WEIGHTS {directory} was saved with the backbone {own}, so MODEL.BACKBONE.PRETRAIN_PATH must be "
            f"{own} too, not {given or 'empty'}"
        )


def _describe_pretrained(cfg: CfgNode) -> tuple[str, ...]:
    backbone = cfg.MODEL.BACKBONE
    path = backbone.PRETRAIN_PATH
    if path.startswith(packages.SCHEME):
        content = packages.find_package(path).sha256
    else:
        content = compute_sha256(path) if os.path.isfile(path) else path
    options = (backbone.DEPTH, backbone.WITH_IBN, backbone.WITH_SE) if not backbone.TIMM_NAME else ()
    return (backbone.NAME, backbone.TIMM_NAME, *map(str, options), content)


def _hash_texts(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
