"""Pure torch: distances, pools, norms, margins and attention, known to both losses and search."""

from fastreid.layers.attention import NonLocal, SqueezeExcitation
from fastreid.layers.distance import cosine_distance, euclidean_distance, squared_euclidean_distance
from fastreid.layers.margin import ArcSoftmax, CircleSoftmax, CosSoftmax, Linear
from fastreid.layers.norm import IBN, FrozenBN, GhostBN, freeze_bias
from fastreid.layers.pooling import GeneralizedMeanPooling, GeneralizedMeanPoolingP, GlobalAvgPool, GlobalMaxPool
from fastreid.layers.precision import in_full_precision

__all__ = [
    "IBN",
    "ArcSoftmax",
    "CircleSoftmax",
    "CosSoftmax",
    "FrozenBN",
    "GeneralizedMeanPooling",
    "GeneralizedMeanPoolingP",
    "GhostBN",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Linear",
    "NonLocal",
    "SqueezeExcitation",
    "cosine_distance",
    "euclidean_distance",
    "freeze_bias",
    "in_full_precision",
    "squared_euclidean_distance",
]
