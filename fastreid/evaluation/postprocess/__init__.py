"""Post-processing of retrieval: whitening, negatives, query fusion, query expansion, re-ranking and their tuning."""

from fastreid.evaluation.postprocess.fusion import BestRankFusion, average_queries_by_object
from fastreid.evaluation.postprocess.negatives import NegativeSettings, subtract_negatives
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import KReciprocalDistances, RerankSettings, k_reciprocal
from fastreid.evaluation.postprocess.superglobal import SuperGlobalDistances, SuperGlobalSettings
from fastreid.evaluation.postprocess.whitening import (
    Whitening,
    WhiteningSettings,
    learn_whitening,
    load_whitening,
    save_whitening,
)

__all__ = [
    "BestRankFusion",
    "ExpansionSettings",
    "KReciprocalDistances",
    "NegativeSettings",
    "RerankSettings",
    "SuperGlobalDistances",
    "SuperGlobalSettings",
    "Whitening",
    "WhiteningSettings",
    "average_queries_by_object",
    "expand",
    "k_reciprocal",
    "learn_whitening",
    "load_whitening",
    "save_whitening",
    "subtract_negatives",
]
