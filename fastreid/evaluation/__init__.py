"""Retrieval evaluation: nearest-neighbor search, post-processing, metrics and reports."""

from fastreid.evaluation.build import ENGINES, METRICS, STEPS
from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.pipeline import (
    Expand,
    FuseFeatures,
    FuseRanks,
    Rerank,
    RetrievalState,
    SearchSettings,
    Step,
    StepInputs,
    Whiten,
)
from fastreid.evaluation.postprocess.fusion import average_queries_by_object
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import RerankSettings, k_reciprocal
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
    "Rerank",
    "RerankSettings",
    "RetrievalState",
    "ScoreSettings",
    "SearchSettings",
    "Step",
    "StepInputs",
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
    "write_results",
]
