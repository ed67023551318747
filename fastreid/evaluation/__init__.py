"""Retrieval evaluation: nearest-neighbor search, post-processing, metrics and reports."""

from fastreid.evaluation.build import ENGINES, METRICS, STEPS
from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.pipeline import RetrievalState, SearchSettings, Step, StepInputs
from fastreid.evaluation.postprocess.fusion import average_queries_by_object
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures, LocalSettings
from fastreid.evaluation.postprocess.negatives import NegativeSettings, subtract_negatives
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import RerankSettings, k_reciprocal
from fastreid.evaluation.postprocess.superglobal import SuperGlobalSettings
from fastreid.evaluation.postprocess.whitening import (
    Whitening,
    WhiteningSettings,
    learn_whitening,
    load_whitening,
    save_whitening,
)
from fastreid.evaluation.reporting.ranking_plot import plot_rankings
from fastreid.evaluation.reporting.results import format_scores, write_results
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.evaluation.scoring.metrics import score, score_features
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.nearest import nearest
from fastreid.evaluation.steps import (
    Expand,
    FuseFeatures,
    FuseRanks,
    Rerank,
    RerankLocal,
    RerankSuperGlobal,
    SubtractNegatives,
    Whiten,
)

__all__ = [
    "ENGINES",
    "METRICS",
    "STEPS",
    "Evaluation",
    "Evaluator",
    "Expand",
    "ExpansionSettings",
    "FuseFeatures",
    "FuseRanks",
    "GroundTruth",
    "LocalFeatures",
    "LocalSettings",
    "NegativeSettings",
    "Rerank",
    "RerankLocal",
    "RerankSettings",
    "RerankSuperGlobal",
    "RetrievalState",
    "ScoreSettings",
    "SearchSettings",
    "Step",
    "StepInputs",
    "SubtractNegatives",
    "SuperGlobalSettings",
    "Whiten",
    "Whitening",
    "WhiteningSettings",
    "average_queries_by_object",
    "expand",
    "format_scores",
    "k_reciprocal",
    "learn_whitening",
    "load_whitening",
    "nearest",
    "plot_rankings",
    "save_whitening",
    "score",
    "score_features",
    "subtract_negatives",
    "write_results",
]
