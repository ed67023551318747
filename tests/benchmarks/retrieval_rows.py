"""Rows of the retrieval table (`retrieval_table.py`): settings of the trained heads, and test steps."""

from typing import Any

from fastreid import evaluation as ev

DIM = 256  # floats per embedding of the heads
HEAD: list[Any] = ["MODEL.HEADS.EMBEDDING_DIM", DIM, "MODEL.HEADS.EMBEDDING_BIAS", True]
HEAD += ["MODEL.HEADS.NECK_FEAT", "after"]
HEAD += ["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "DATALOADER.NUM_INSTANCE", 4, "SOLVER.IMS_PER_BATCH", 64]
COSINE = ["MODEL.HEADS.SCALE", 30]
ARC = [*COSINE, "MODEL.HEADS.CLS_LAYER", "ArcSoftmax", "MODEL.HEADS.MARGIN", 0.3]
CIRCLE = ["MODEL.HEADS.CLS_LAYER", "CircleSoftmax", "MODEL.HEADS.SCALE", 64, "MODEL.HEADS.MARGIN", 0.35]
TRIPLET = ["MODEL.LOSSES.NAME", ["TripletLoss"], "MODEL.LOSSES.TRI.NORM_FEAT", True]
LOSSES: dict[str, list[Any]] = {
    "cross entropy": ["MODEL.LOSSES.NAME", ["CrossEntropyLoss"]],
    "cross entropy, smoothing 0.1": ["MODEL.LOSSES.NAME", ["CrossEntropyLoss"], "MODEL.LOSSES.CE.EPSILON", 0.1],
    "focal": ["MODEL.LOSSES.NAME", ["FocalLoss"]],
    "CosFace classifier (30, 0.3)": [*COSINE, "MODEL.HEADS.CLS_LAYER", "CosSoftmax", "MODEL.HEADS.MARGIN", 0.3],
    "ArcFace classifier (30, 0.3)": ARC,
    "ArcFace, 3 sub-centers": [*ARC, "MODEL.HEADS.SUB_CENTERS", 3],
    "circle classifier (64, 0.35)": CIRCLE,
    "triplet, margin 0.3": TRIPLET,
    "triplet, margin 0.3, hard mining": [*TRIPLET, "MODEL.LOSSES.TRI.HARD_MINING", True],
    "triplet, soft margin": [*TRIPLET, "MODEL.LOSSES.TRI.MARGIN", 0.0],
    "pairwise circle (128, 0.25)": ["MODEL.LOSSES.NAME", ["CircleLoss"]],
    "pairwise circle, memory of 256 drawings": ["MODEL.LOSSES.NAME", ["CircleLoss"], "MODEL.LOSSES.MEMORY.SIZE", 256],
    "pairwise CosFace (128, 0.25)": ["MODEL.LOSSES.NAME", ["Cosface"]],
    "cross entropy and triplet": [*TRIPLET, "MODEL.LOSSES.NAME", ["CrossEntropyLoss", "TripletLoss"]],
}
STEPS: dict[str, ev.Step] = {
    "AQE (k 5, alpha 3)": ev.Expand(ev.ExpansionSettings(5, 3.0, gallery_too=False)),
    "DBA (k 5, alpha 3)": ev.Expand(ev.ExpansionSettings(5, 3.0, queries_too=False)),
    "AQE and DBA (k 5, alpha 3)": ev.Expand(ev.ExpansionSettings(5, 3.0)),
    "AQE and DBA (k 3, alpha 3)": ev.Expand(ev.ExpansionSettings(3, 3.0)),
    "k-reciprocal re-ranking (20, 6, 0.3)": ev.Rerank(ev.RerankSettings(20, 6, 0.3)),
    "k-reciprocal re-ranking (6, 3, 0.3)": ev.Rerank(ev.RerankSettings(6, 3, 0.3)),
    "SuperGlobal (K 9, beta 0.15)": ev.RerankSuperGlobal(ev.SuperGlobalSettings()),
    "negatives (K 10, beta 0.35, 3 times)": ev.SubtractNegatives(ev.NegativeSettings()),
    "whitening learned from the gallery, 64 floats": ev.Whiten(ev.WhiteningSettings(dim=64)),
    "whitening learned from the gallery, 64 floats, power 0.25": ev.Whiten(ev.WhiteningSettings(dim=64, power=0.25)),
}
