"""What is near to what, and how good that is: search, expansion, re-ranking, scores, results and pictures."""

from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.metrics import score, score_features
from fastreid.evaluation.query_expansion import ExpansionSettings, expand
from fastreid.evaluation.report import scores_table, write_results
from fastreid.evaluation.rerank import RerankSettings, k_reciprocal
from fastreid.evaluation.search import nearest
from fastreid.evaluation.sheet import ranked_sheet
from fastreid.evaluation.truth import Truth

__all__ = [
    "Evaluation",
    "Evaluator",
    "ExpansionSettings",
    "RerankSettings",
    "Truth",
    "expand",
    "k_reciprocal",
    "nearest",
    "ranked_sheet",
    "score",
    "score_features",
    "scores_table",
    "write_results",
]
