"""What MODEL.WEIGHTS names: a file, a model directory, or the pretrained weights of the backbone."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.engine.model_directory import WEIGHTS_FILE, contains_backbone, find_model_directory
from fastreid.modeling.backbones import packages
from fastreid.utils.errors import InputError
from fastreid.utils.files import compute_sha256

PRETRAINED = "pretrained"  # MODEL.WEIGHTS: the backbone's pretrained weights, without training


@dataclass(frozen=True)
class WeightsSource:
    """The weights of a network.

    Args:
        name: absolute path of the file or directory, or "pretrained".
        directory: model directory; None: a file, or "pretrained".
    """

    name: str
    directory: Path | None = None

    @property
    def is_pretrained(self) -> bool:
        """Whether these are the pretrained weights of the backbone."""
        return self.name == PRETRAINED


def find_weights(cfg: CfgNode) -> WeightsSource:
    """Return what MODEL.WEIGHTS names.

    Raises:
        InputError: it is empty, or neither a file, a model directory, the name of a shipped model nor "pretrained".
    """
    path = str(cfg.MODEL.WEIGHTS)
    if not path:
        raise InputError(
            "MODEL.WEIGHTS is empty; add MODEL.WEIGHTS path/to/model_best.pth, MODEL.WEIGHTS pretrained to use the "
            "pretrained weights of the backbone, or test an untrained network with fastreid test --random-weights"
        )
    if path == PRETRAINED:
        return WeightsSource(PRETRAINED)
    directory = find_model_directory(path)
    if directory is not None:
        return WeightsSource(str(directory), directory)
    if os.path.isdir(path):
        raise InputError(
            f"{path}: no such weights file; the folder is no model directory, which has config.yaml and {WEIGHTS_FILE}"
        )
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such weights file; check the path, or give a name of `fastreid models list`")
    return WeightsSource(os.path.abspath(path))


def compute_weights_sha256(cfg: CfgNode) -> str:
    """Return a sha256 that identifies the weights of MODEL.WEIGHTS, to distinguish the features of different networks.

    For pretrained weights of the hub it covers their address, not their content.

    Raises:
        InputError: as `find_weights`.
    """
    source = find_weights(cfg)
    if source.is_pretrained:
        return _hash_texts(PRETRAINED, *_describe_pretrained(cfg))
    if source.directory is None:
        return compute_sha256(source.name)
    digest = compute_sha256(source.directory / WEIGHTS_FILE)
    return digest if contains_backbone(source.directory) else _hash_texts(digest, *_describe_pretrained(cfg))


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
