"""Training losses, computed in at least float32; one module per loss."""

from fastreid.modeling.losses.circle import CircleLoss
from fastreid.modeling.losses.cosface import CosfaceLoss
from fastreid.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid.modeling.losses.focal import FocalLoss
from fastreid.modeling.losses.global_batch import GlobalBatch, all_gather_batch
from fastreid.modeling.losses.loss_term import LossTerm
from fastreid.modeling.losses.triplet import TripletLoss

__all__ = [
    "CircleLoss",
    "CosfaceLoss",
    "CrossEntropyLoss",
    "FocalLoss",
    "GlobalBatch",
    "LossTerm",
    "TripletLoss",
    "all_gather_batch",
]
