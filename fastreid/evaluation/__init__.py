"""What is near to what, and how good that is: search, post-processing, scores, results and pictures."""

from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.pipeline import Search
from fastreid.evaluation.postprocess.fusion import mean_of_objects
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.postprocess.rerank import RerankSettings, k_reciprocal
from fastreid.evaluation.postprocess.whitening import Whitening, WhiteningSettings, learn_whitening
from fastreid.evaluation.reporting.ranking_plot import ranked_sheet
from fastreid.evaluation.reporting.results import scores_table, write_results
from fastreid.evaluation.scoring.ground_truth import Truth
from fastreid.evaluation.scoring.metrics import score, score_features
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.nearest import nearest

__all__ = [
    "Evaluation",
    "Evaluator",
    "ExpansionSettings",
    "RerankSettings",
    "ScoreSettings",
    "Search",
    "Truth",
    "Whitening",
    "WhiteningSettings",
    "expand",
    "k_reciprocal",
    "learn_whitening",
    "mean_of_objects",
    "nearest",
    "ranked_sheet",
    "score",
    "score_features",
    "scores_table",
    "write_results",
]
