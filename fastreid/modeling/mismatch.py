"""Explain why the tensors of a file do not match a network: which settings differ, by their names and shapes."""

import re
from collections.abc import Mapping

from torch import Tensor

from fastreid.modeling.backbones.resnet import RESNET_SPECS, BasicBlock

State = Mapping[str, Tensor]

_BLOCK = re.compile(r"backbone\.layer([1-4])\.(\d+)\.conv1\.weight")


def explain_mismatch(expected: State, loaded: State) -> str:
    """Return what differs between a network and a file, with the settings to change, for the end of a message.

    Args:
        expected: state dict of the network.
        loaded: state dict of the file, with names as in the network.
    """
    if not any(name.startswith("backbone.") for name in loaded):
        return (
            "the file has no tensor of a network of fastreid (backbone., heads.); give the weights of a backbone alone "
            "with MODEL.BACKBONE.PRETRAIN_PATH and MODEL.BACKBONE.PRETRAIN True"
        )
    if _has(expected, "heads.") and not _has(loaded, "heads."):
        return (
            "the file has a backbone without a head; give it with MODEL.BACKBONE.PRETRAIN_PATH and "
            "MODEL.BACKBONE.PRETRAIN True"
        )
    in_network, in_file = _describe_backbone(expected), _describe_backbone(loaded)
    if in_network.keys() == in_file.keys():  # otherwise the backbones have nothing in common
        in_network, in_file = in_network | _describe_head(expected), in_file | _describe_head(loaded)
    differences = [
        f"{key} is {in_network[key]}, but the file has {in_file[key]}"
        for key in in_network
        if key in in_file and in_network[key] != in_file[key]
    ]
    if differences:
        return "; ".join(differences)
    if _has(expected, "backbone.body.") and _has(loaded, "backbone.body."):
        return "MODEL.BACKBONE.TIMM_NAME is another network than that of the file, or timm has another version"
    return "use the config of the run that wrote the file (config.yaml in its OUTPUT_DIR)"


def _has(state: State, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in state)


def _describe_backbone(state: State) -> dict[str, str]:
    """Return the settings of MODEL.BACKBONE that the tensors of a network show."""
    blocks: dict[str, int] = {}
    for match in filter(None, map(_BLOCK.fullmatch, state)):
        blocks[match[1]] = max(blocks.get(match[1], 0), int(match[2]) + 1)
    if _has(state, "backbone.body."):
        return {"MODEL.BACKBONE.NAME": "build_timm_backbone"}
    if not blocks:
        return {"MODEL.BACKBONE.NAME": "another backbone"}
    counts = tuple(blocks.get(stage, 0) for stage in "1234")
    is_basic = "backbone.layer1.0.conv3.weight" not in state
    depth = "-".join(map(str, counts)) + " blocks"
    for name, spec in RESNET_SPECS.items():
        if spec.num_blocks == counts and (spec.block is BasicBlock) == is_basic:
            depth = name
    parts = {"WITH_IBN": ".bn1.IN.", "WITH_SE": ".se.fc.", "WITH_NL": "backbone.NL_"}
    settings = {"MODEL.BACKBONE.NAME": "build_resnet_backbone", "MODEL.BACKBONE.DEPTH": depth} | {
        f"MODEL.BACKBONE.{key}": str(any(part in name for name in state)) for key, part in parts.items()
    }
    width = next((len(value) for name, value in state.items() if re.search(r"NL_\d\.0\.g\.weight", name)), 1)
    return settings | {"MODEL.BACKBONE.NL_WIDE": str(width > 1)}


def _describe_head(state: State) -> dict[str, str]:
    """Return the settings of MODEL.HEADS that the tensors of a network show."""
    first = state.get("heads.bottleneck.0.weight")
    reduction = first if first is not None and first.ndim == 4 else None
    has_bias = reduction is not None and "heads.bottleneck.0.bias" in state
    settings = {
        "MODEL.HEADS.EMBEDDING_DIM": "0" if reduction is None else str(len(reduction)),
        "MODEL.HEADS.EMBEDDING_BIAS": "True (as MODEL.HEADS.PROJECTION needs)" if has_bias else "False",
        "MODEL.HEADS.WITH_BNNECK": str(f"heads.bottleneck.{int(reduction is not None)}.bias" in state),
        "MODEL.HEADS.POOL_LAYER": "learnable (GeneralizedMeanPoolingP)"
        if "heads.pool_layer.p" in state
        else "a layer without parameters",
    }
    classifier = state.get("heads.weight")
    if classifier is not None and classifier.ndim == 2:
        settings["the number of classes (MODEL.HEADS.NUM_CLASSES)"] = str(len(classifier))
    return settings
