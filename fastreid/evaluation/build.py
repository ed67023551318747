"""The evaluator a config asks for, and the tables of the names it may use."""

from collections.abc import Callable

import torch
from yacs.config import CfgNode

from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.pipeline import LEARN_FROM, Expand, FuseFeatures, FuseRanks, Rerank, Search, Step, Whiten
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings
from fastreid.evaluation.postprocess.rerank import RerankSettings
from fastreid.evaluation.postprocess.whitening import WhiteningSettings, load_whitening
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.nearest import ENGINES, METRICS
from fastreid.utils.errors import InputError
from fastreid.utils.registry import Registry

__all__ = ["ENGINES", "METRICS", "STEPS", "build_evaluator"]

# Name in TEST.STEPS -> the step that TEST describes, or None where its section is switched off.
STEPS: Registry[Callable[[CfgNode], Step | None]] = Registry(
    "step of post-processing",
    {
        "WHITEN": lambda test: _whiten(test.WHITEN) if test.WHITEN.ENABLED else None,
        "FUSE": lambda test: _FUSIONS.get(test.FUSE.BY)() if test.FUSE.ENABLED else None,
        "AQE": lambda test: Expand(_expansion(test.AQE)) if test.AQE.ENABLED else None,
        "RERANK": lambda test: Rerank(_reranking(test.RERANK)) if test.RERANK.ENABLED else None,
    },
)
_FUSIONS: Registry[Callable[[], Step]] = Registry("way to fuse queries", {"mean": FuseFeatures, "rank": FuseRanks})


def build_evaluator(cfg: CfgNode, *, device: torch.device | str = "cpu") -> Evaluator:
    """The evaluator of the settings under TEST, working on a device.

    Raises:
        InputError: a name that is not in the tables, a number outside its range, or steps that do not go together.
        EnvironmentSetupError: TEST.ENGINE's package is missing.
        WeightsError: a whitening file is damaged.
    """
    test = cfg.TEST
    names = tuple(test.STEPS)
    if len(set(names)) < len(names):
        raise InputError(f"TEST.STEPS is {list(names)}; it names each step once")
    return Evaluator(
        metric=test.METRIC,
        search=Search(memory_mb=test.MEMORY_MB, engine=test.ENGINE, precision=test.PRECISION),
        steps=[step for step in (STEPS.get(name)(test) for name in names) if step is not None],
        scoring=ScoreSettings(
            top_k=test.TOP_K,
            roc=test.ROC.ENABLED,
            normaliser=test.SCORE.NORMALIZER,
            patent_distance=test.SCORE.PATENT_DISTANCE,
        ),
        objects=test.FUSE.OBJECT,
        device=device,
    )


def _whiten(given: CfgNode) -> Step:
    settings, learn_from = WhiteningSettings(dim=given.DIM, power=given.POWER), given.LEARN_FROM
    ready = None if learn_from in LEARN_FROM else load_whitening(learn_from).with_settings(settings)
    return Whiten(settings, learn_from, ready)


def _expansion(given: CfgNode) -> ExpansionSettings:
    return ExpansionSettings(
        k=given.QE_K,
        alpha=given.ALPHA,
        times=given.QE_TIME,
        queries_too=given.QUERIES,
        gallery_too=given.DATABASE,
    )


def _reranking(given: CfgNode) -> RerankSettings:
    return RerankSettings(
        k1=given.K1, k2=given.K2, lambda_value=given.LAMBDA, form=given.FORM, top_n=given.TOP_N or None
    )
