"""What is near to what, and how good that is: search, post-processing, scores, results and pictures."""

from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.fusion import mean_of_objects
from fastreid.evaluation.metrics import score, score_features
from fastreid.evaluation.per_query import ScoreSettings
from fastreid.evaluation.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.report import scores_table, write_results
from fastreid.evaluation.rerank import RerankSettings, k_reciprocal
from fastreid.evaluation.search import nearest
from fastreid.evaluation.sheet import ranked_sheet
from fastreid.evaluation.steps import Search
from fastreid.evaluation.truth import Truth
from fastreid.evaluation.whitening import Whitening, WhiteningSettings, learn_whitening

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
