"""Evaluate weights on the test datasets of a config."""

import functools
import hashlib
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fastreid import __version__
from fastreid.config import CfgNode
from fastreid.data.build import (
    build_unreadable_drawings,
    check_readable,
    fill_cache_if_enabled,
    log_color_mode,
)
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.io.image import read_image
from fastreid.data.loading.unreadable import UnreadableDrawings
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.data import build_datasets, build_test_datasets
from fastreid.engine.features.extract import build_journals, build_provenance, extract_features, extract_local_features
from fastreid.engine.features.journal import JournalFolder
from fastreid.engine.features.local_extraction import count_positions
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.precision import warn_if_dtype_is_slow
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import check_output_folder, resolve_device
from fastreid.engine.tester import ResultWriter, Tester
from fastreid.evaluation.build import build_evaluator, uses_training_features
from fastreid.evaluation.evaluator import Evaluation
from fastreid.evaluation.scoring.matches import check_matches
from fastreid.structures import Drawing
from fastreid.utils import comm

JOURNAL_FOLDER = "features.unfinished"  # folder below OUTPUT_DIR for the batches of an unfinished test


def build_testers(
    cfg: CfgNode,
    tests: Mapping[str, RetrievalData],
    *,
    training: Sequence[Drawing] = (),
    weights: str = "",
    weights_sha256: str = "",
    journals: JournalFolder | None = None,
    unreadable: UnreadableDrawings | None = None,
) -> list[Tester]:
    """Build one tester per test dataset, in the order of DATASETS.TESTS.

    Args:
        cfg: settings.
        tests: datasets by name.
        training: the training drawings, for post-processing steps that learn from them.
        weights: file of the weights to test; "" during training and for an untrained network.
        weights_sha256: sha256 of the weights to test; "" during training.
        journals: stores finished batches of features for a resume; None during training.
        unreadable: from `build_unreadable_drawings`; records unreadable training drawings, which those steps skip.
    """
    warn_if_dtype_is_slow(cfg.TEST.NETWORK_PRECISION, resolve_device(cfg), setting="TEST.NETWORK_PRECISION")
    evaluator = build_evaluator(cfg, device=resolve_device(cfg))
    width, num_training = cfg.MODEL.HEADS.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM, len(training) or None
    compiled: dict[nn.Module, CompiledCaller] = {}
    for data in tests.values():
        check_matches(data.name, data.queries, data.gallery)
        num_gallery = len(data.gallery)
        evaluator.check(width=width, num_gallery=num_gallery, num_training=num_training, model=weights_sha256)
    log_color_mode(cfg, training, *(part for data in tests.values() for part in (data.queries, data.gallery)))
    extract_training = functools.partial(
        extract_features, cfg, drawings=training, journals=journals, compiled=compiled, unreadable=unreadable
    )
    return [
        Tester(
            name=name,
            queries=data.queries,
            gallery=data.gallery,
            **result_options(cfg, weights=weights),
            extract=functools.partial(extract_features, cfg, journals=journals, compiled=compiled),
            evaluator=evaluator,
            extract_training=extract_training if training else None,
            weights_sha256=weights_sha256,
            extract_local=functools.partial(extract_local_features, cfg) if cfg.TEST.LOCAL.ENABLED else None,
            num_local_positions=count_positions(cfg),
        )
        for name, data in tests.items()
    ]


def collect_drawing_lists(testers: Sequence[Tester]) -> list[Sequence[Drawing]]:
    """Return the query and gallery lists of the testers."""
    return [drawings for tester in testers for drawings in (tester.queries, tester.gallery)]


def result_options(cfg: CfgNode, *, weights: str) -> dict[str, Any]:
    """Return the keyword arguments of `ResultWriter` that a config determines.

    Args:
        cfg: settings.
        weights: file of the tested weights; "" for an untrained network.
    """
    return {
        "read": build_page_reader(cfg),
        "num_visualized_queries": cfg.TEST.NUM_VISUALIZED_QUERIES,
        "num_bootstrap_samples": cfg.TEST.SCORE.BOOTSTRAP,
        "per_query_file": cfg.TEST.SCORE.PER_QUERY_FILE,
        "origin": {
            "weights": weights,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "settings_sha256": hashlib.sha256(cfg.dump().encode()).hexdigest(),
            "versions": {
                "fastreid": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        },
    }


def build_page_reader(cfg: CfgNode) -> Callable[[str], np.ndarray]:
    """Return the function that reads the page of a path, uint8 (H, W) or (H, W, 3), with the limits of the config."""
    return functools.partial(read_image, **get_page_options(cfg))


def get_page_options(cfg: CfgNode) -> dict[str, Any]:
    """Return the arguments of `read_image` and `decode_page` for the pages of a run."""
    return {
        "color": cfg.INPUT.COLOR == "rgb",
        "max_pixels": cfg.INPUT.MAX_PIXELS,
        "longest_px": cfg.INPUT.LONGEST_PX,
    }


def run_test(cfg: CfgNode, *, random_weights: bool = False) -> dict[str, Evaluation]:
    """Test MODEL.WEIGHTS on every dataset of DATASETS.TESTS and write the results.

    `result.npy`, `result.zip`, `scores.json` and `ranks.png` of the first dataset are written to OUTPUT_DIR, those of
    each further one to a folder of its name below. A stopped test resumes with the features it had already extracted.

    Args:
        cfg: settings.
        random_weights: test an untrained network instead of MODEL.WEIGHTS.

    Returns:
        The evaluation of each dataset by name.

    Raises:
        InputError: no weights are given, or a drawing is unreadable.
        WeightsError: the weights do not fit the config.
    """
    check_component_names(cfg, training=False)
    has_whitening = cfg.TEST.WHITEN.ENABLED
    provenance = build_provenance(cfg, random_weights=random_weights)  # before data is read: checks the weights
    training = build_datasets(cfg)[0] if uses_training_features(cfg) else ()
    unreadable = build_unreadable_drawings(cfg)
    journals = build_journals(cfg, Path(cfg.OUTPUT_DIR) / JOURNAL_FOLDER, provenance)
    testers = build_testers(
        cfg,
        build_test_datasets(cfg),
        training=training,
        weights=provenance.weights,
        weights_sha256=provenance.weights_sha256 if has_whitening else "",
        journals=journals,
        unreadable=unreadable,
    )
    check_readable(cfg, *collect_drawing_lists(testers), decode=False)
    model = build_model_with_weights(cfg, random_weights=random_weights)
    fill_cache_if_enabled(cfg, *collect_drawing_lists(testers), training=training, unreadable=unreadable)
    evaluations = {}
    for tester in testers:
        evaluations[tester.name] = tester.test(model)
        log_and_write(cfg, tester, evaluations)
    journals.remove()
    return evaluations


def log_and_write(cfg: CfgNode, results: ResultWriter, evaluations: Mapping[str, Evaluation]) -> None:
    """Log and write the newest evaluation; the first one is written to OUTPUT_DIR itself, others to a folder below."""
    if comm.is_main_process():
        folder = Path(cfg.OUTPUT_DIR)
        results.log_scores(evaluations[results.name])
        check_output_folder(folder)
        results.write(evaluations[results.name], folder if len(evaluations) == 1 else folder / results.name)
