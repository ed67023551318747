"""Building blocks in plain torch: distances, pooling, norms, margin softmax and attention."""

from fastreid.layers.attention import NonLocal, SqueezeExcitation
from fastreid.layers.distance import cosine_distance, euclidean_distance, squared_euclidean_distance
from fastreid.layers.gem_pooling import GeneralizedMeanPooling, GeneralizedMeanPoolingP
from fastreid.layers.gradient_checkpointing import checkpoint_block
from fastreid.layers.margin_softmax import ArcSoftmax, CircleSoftmax, ClassMargin, CosSoftmax, Linear, Margin
from fastreid.layers.norm import IBN, NORMS, FrozenBatchNorm, GhostBatchNorm, SyncBatchNorm, freeze_bias
from fastreid.layers.pooling import (
    AdaptiveAvgMaxPool,
    ClipGlobalAvgPool,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    Identity,
)
from fastreid.layers.precision import in_full_precision

__all__ = [
    "IBN",
    "NORMS",
    "AdaptiveAvgMaxPool",
    "ArcSoftmax",
    "CircleSoftmax",
    "ClassMargin",
    "ClipGlobalAvgPool",
    "CosSoftmax",
    "Flatten",
    "FrozenBatchNorm",
    "GeneralizedMeanPooling",
    "GeneralizedMeanPoolingP",
    "GhostBatchNorm",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Identity",
    "Linear",
    "Margin",
    "NonLocal",
    "SqueezeExcitation",
    "SyncBatchNorm",
    "checkpoint_block",
    "cosine_distance",
    "euclidean_distance",
    "freeze_bias",
    "in_full_precision",
    "squared_euclidean_distance",
]
