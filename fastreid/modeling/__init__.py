"""Networks: backbones, heads, losses and their weights."""

from fastreid.modeling.baseline import Baseline
from fastreid.modeling.build import (
    BACKBONES,
    HEADS,
    LOSSES,
    MARGINS,
    META_ARCHITECTURES,
    POOLING,
    build_model,
    load_pretrained_backbone,
)
from fastreid.modeling.heads import EmbeddingHead, HeadOutput
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.weights import LoadReport, extract_model_state, load_state, read_weights

__all__ = [
    "BACKBONES",
    "HEADS",
    "LOSSES",
    "MARGINS",
    "META_ARCHITECTURES",
    "POOLING",
    "Baseline",
    "EmbeddingHead",
    "HeadOutput",
    "LoadReport",
    "LossTerm",
    "build_model",
    "extract_model_state",
    "load_pretrained_backbone",
    "load_state",
    "read_weights",
]
