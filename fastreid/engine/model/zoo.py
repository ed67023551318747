"""Create networks by name: shipped models, model directories and timm networks."""

from typing import Any

from torch import nn

from fastreid.config import CfgNode
from fastreid.engine.model.directory import DEFAULT_MODEL, find_model_directory, list_models
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.model.weights_source import PRETRAINED
from fastreid.engine.setup import load_config
from fastreid.modeling.backbones.timm_network import import_timm
from fastreid.utils.errors import InputError, describe_unknown, suggest_nearest


def create_model(name: str = DEFAULT_MODEL, *, pretrained: bool = True, device: str = "cpu") -> nn.Module:
    """Return a network in evaluation mode that computes features of images.

    Args:
        name: a shipped model (see `fastreid models list`), a model directory, or a timm network such as
            "convnext_tiny".
        pretrained: load the weights; False: random weights.
        device: such as "cpu" or "cuda".

    Returns:
        A network: images float32 (B, 3, H, W), RGB, 0..255 -> features float32 (B, D), not normalized.

    Raises:
        InputError: there is no such model.
        EnvironmentSetupError: a package is not installed.
        StorageError: the weights cannot be downloaded.
        WeightsError: the weights are damaged or do not match.
    """
    cfg = load_model_config(name, ["MODEL.DEVICE", device])
    return build_model_with_weights(cfg, random_weights=not pretrained).eval()


def load_model_config(name: str = DEFAULT_MODEL, opts: list[Any] | None = None) -> CfgNode:
    """Return the settings of a model by name, as for `create_model`, with MODEL.WEIGHTS.

    Images have the size for which the network was trained.

    Args:
        name: as for `create_model`.
        opts: KEY VALUE pairs, one list, that override the settings of the model.

    Raises:
        InputError: there is no such model, or a setting is invalid.
        EnvironmentSetupError: the network needs timm, which is not installed.
    """
    opts = opts or []
    if find_model_directory(name) is not None:
        return load_config(None, ["MODEL.WEIGHTS", name, *opts])
    timm = import_timm()
    if not timm.is_model(name):
        hint = suggest_nearest(name, timm.list_models())
        unknown = describe_unknown("model", name, list_models())
        raise InputError(f"{unknown} A model directory or the name of a timm network is possible too.{hint}")
    network = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", name]
    sizes = ["INPUT.SIZE_TRAIN", [], "INPUT.SIZE_TEST", []]
    return load_config(None, [*network, *sizes, "MODEL.WEIGHTS", PRETRAINED, *opts])
