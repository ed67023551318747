"""Build the evaluator from the config; the registries of its parts."""

import os
from collections.abc import Callable

import torch
from yacs.config import CfgNode

from fastreid.evaluation.evaluator import Evaluator
from fastreid.evaluation.pipeline import LEARN_FROM, SearchSettings, Step
from fastreid.evaluation.postprocess.local_rerank import LocalSettings
from fastreid.evaluation.postprocess.negatives import NegativeSettings
from fastreid.evaluation.postprocess.query_expansion import ExpansionSettings
from fastreid.evaluation.postprocess.rerank import RerankSettings
from fastreid.evaluation.postprocess.superglobal import SuperGlobalSettings
from fastreid.evaluation.postprocess.whitening import WhiteningSettings, load_whitening
from fastreid.evaluation.scoring.per_query import ScoreSettings
from fastreid.evaluation.search.nearest import ENGINES, METRICS
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
from fastreid.utils.errors import InputError
from fastreid.utils.files import compute_sha256
from fastreid.utils.registry import Registry

__all__ = ["ENGINES", "METRICS", "STEPS", "build_evaluator"]

# Name in TEST.STEPS -> function that builds the step from cfg.TEST, or returns None if the step is disabled.
STEPS: Registry[Callable[[CfgNode], Step | None]] = Registry(
    "post-processing step",
    {
        "WHITEN": lambda test: _build_whitening_step(test.WHITEN) if test.WHITEN.ENABLED else None,
        "NEGATIVE": lambda test: (
            SubtractNegatives(_negative_settings(test.NEGATIVE)) if test.NEGATIVE.ENABLED else None
        ),
        "FUSE": lambda test: _FUSIONS.get(test.FUSE.BY, "TEST.FUSE.BY")() if test.FUSE.ENABLED else None,
        "AQE": lambda test: Expand(_expansion_settings(test.AQE)) if test.AQE.ENABLED else None,
        "RERANK": lambda test: Rerank(_rerank_settings(test.RERANK)) if test.RERANK.ENABLED else None,
        "SUPERGLOBAL": lambda test: (
            RerankSuperGlobal(_super_global_settings(test.SUPERGLOBAL)) if test.SUPERGLOBAL.ENABLED else None
        ),
        "LOCAL": lambda test: RerankLocal(_local_settings(test.LOCAL)) if test.LOCAL.ENABLED else None,
    },
)
_FUSIONS: Registry[Callable[[], Step]] = Registry("query fusion method", {"mean": FuseFeatures, "rank": FuseRanks})


def check_evaluator_names(cfg: CfgNode) -> None:
    """Look up the names of the steps, the metric and the engine; cheap, so that a typo is reported before any work.

    Raises:
        InputError: a name is unknown, a step is repeated, or an enabled step is not in TEST.STEPS.
    """
    METRICS.get(cfg.TEST.METRIC, "TEST.METRIC")
    ENGINES.get(cfg.TEST.ENGINE, "TEST.ENGINE")
    if cfg.TEST.FUSE.ENABLED:
        _FUSIONS.get(cfg.TEST.FUSE.BY, "TEST.FUSE.BY")
    names = tuple(cfg.TEST.STEPS)
    for name in names:
        STEPS.get(name, "TEST.STEPS")
    if len(set(names)) < len(names):
        raise InputError(f"TEST.STEPS contains a step twice: {list(names)}; list each step once")
    for name in STEPS.names():
        if name not in names and name in cfg.TEST and cfg.TEST[name].ENABLED:
            raise InputError(
                f"TEST.{name}.ENABLED is True, but TEST.STEPS {list(names)} does not contain {name}; add it"
            )


def build_evaluator(cfg: CfgNode, *, device: torch.device | str = "cpu") -> Evaluator:
    """Build the evaluator described by cfg.TEST.

    Args:
        cfg: the config.
        device: device to compute on.

    Raises:
        InputError: an unknown name, a value outside its range, or incompatible steps.
        EnvironmentSetupError: the package of TEST.ENGINE is missing.
        WeightsError: the whitening file is damaged.
    """
    check_evaluator_names(cfg)
    test = cfg.TEST
    return Evaluator(
        metric=test.METRIC,
        search=SearchSettings(memory_mb=test.MEMORY_MB, engine=test.ENGINE),
        steps=[step for step in (STEPS.get(name, "TEST.STEPS")(test) for name in test.STEPS) if step is not None],
        scoring=ScoreSettings(
            top_k=test.TOP_K,
            roc=test.ROC.ENABLED,
            normalizer=test.SCORE.NORMALIZER,
            patent_distance=test.SCORE.PATENT_DISTANCE,
            recalls=tuple(test.RECALLS),
        ),
        group_queries_by=test.FUSE.OBJECT,
        device=device,
    )


def _build_whitening_step(options: CfgNode) -> Step:
    settings, learn_from = WhiteningSettings(dim=options.DIM, power=options.POWER), options.LEARN_FROM
    whitening = None if learn_from in LEARN_FROM else load_whitening(learn_from).with_settings(settings)
    return Whiten(settings, learn_from, whitening)


def compute_whitening_sha256(cfg: CfgNode) -> str:
    """Return the sha256 of the whitening file of TEST.WHITEN.LEARN_FROM; "" if none is used."""
    path = cfg.TEST.WHITEN.LEARN_FROM
    is_used = cfg.TEST.WHITEN.ENABLED and path not in LEARN_FROM and os.path.isfile(path)
    return compute_sha256(path) if is_used else ""


def uses_training_features(cfg: CfgNode) -> bool:
    """Return whether an enabled step uses the features of the training drawings."""
    whiten = cfg.TEST.WHITEN
    return bool((whiten.ENABLED and whiten.LEARN_FROM == "train") or cfg.TEST.NEGATIVE.ENABLED)


def _negative_settings(options: CfgNode) -> NegativeSettings:
    return NegativeSettings(k=options.K, beta=options.BETA, times=options.TIMES)


def _expansion_settings(options: CfgNode) -> ExpansionSettings:
    return ExpansionSettings(
        k=options.QE_K,
        alpha=options.ALPHA,
        times=options.QE_TIME,
        queries_too=options.QUERIES,
        gallery_too=options.GALLERY,
    )


def _rerank_settings(options: CfgNode) -> RerankSettings:
    return RerankSettings(
        k1=options.K1,
        k2=options.K2,
        lambda_value=options.LAMBDA,
        form=options.FORM,
        top_n=options.TOP_N or None,
    )


def _super_global_settings(options: CfgNode) -> SuperGlobalSettings:
    return SuperGlobalSettings(top_n=options.TOP_N, k=options.K, beta=options.BETA)


def _local_settings(options: CfgNode) -> LocalSettings:
    return LocalSettings(top_n=options.TOP_N, weight=options.WEIGHT, dim=options.DIM)
