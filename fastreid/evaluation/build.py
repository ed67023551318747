"""The evaluator a config asks for, and the tables of the names it may use."""

from yacs.config import CfgNode

from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.query_expansion import ExpansionSettings
from fastreid.evaluation.rerank import RerankSettings
from fastreid.evaluation.search import ENGINES, METRICS

__all__ = ["ENGINES", "METRICS", "build_evaluator"]


def build_evaluator(cfg: CfgNode) -> Evaluator:
    """The evaluator of the settings under TEST.

    Raises:
        InputError: a name that is not in the tables or a number outside its range.
        EnvironmentFault: TEST.ENGINE's package is missing.
    """
    test = cfg.TEST
    aqe = ExpansionSettings(
        k=test.AQE.QE_K,
        alpha=test.AQE.ALPHA,
        times=test.AQE.QE_TIME,
        queries_too=test.AQE.QUERIES,
        gallery_too=test.AQE.DATABASE,
    )
    rerank = RerankSettings(
        k1=test.RERANK.K1, k2=test.RERANK.K2, lambda_value=test.RERANK.LAMBDA, form=test.RERANK.FORM
    )
    return Evaluator(
        metric=test.METRIC,
        top_k=test.TOP_K,
        memory_mb=test.MEMORY_MB,
        engine=test.ENGINE,
        aqe=aqe if test.AQE.ENABLED else None,
        rerank=rerank if test.RERANK.ENABLED else None,
        roc=test.ROC.ENABLED,
    )
