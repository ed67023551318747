"""Retrieval scores against a ground truth, bootstrap confidence intervals and comparisons of runs."""

from fastreid.evaluation.scoring.bootstrap import Intervals, percentile_intervals
from fastreid.evaluation.scoring.comparison import Delta, build_comparison_table, compare_runs
from fastreid.evaluation.scoring.ground_truth import GroundTruth, Relevance
from fastreid.evaluation.scoring.metrics import score, score_features, score_names, score_ranking
from fastreid.evaluation.scoring.per_query import QueryScores, ScoreSettings
from fastreid.evaluation.scoring.score_queries import score_distance_blocks, score_topk

__all__ = [
    "Delta",
    "GroundTruth",
    "Intervals",
    "QueryScores",
    "Relevance",
    "ScoreSettings",
    "build_comparison_table",
    "compare_runs",
    "percentile_intervals",
    "score",
    "score_distance_blocks",
    "score_features",
    "score_names",
    "score_ranking",
    "score_topk",
]
