"""From a config to tests of weights, and to the predictor that sees as they do."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fastreid.config import CfgNode
from fastreid.data.build import build_datasets, build_test_datasets
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.io.build import build_bad_drawings, fill_if_cached
from fastreid.data.io.image import read_image
from fastreid.data.loading.unreadable import BadDrawings
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.compile import Calls
from fastreid.engine.feature_journal import Journals
from fastreid.engine.features import build_journals, build_origin, build_tested_model, embed
from fastreid.engine.precision import kind_for_features, warn_if_slow
from fastreid.engine.predictor import Predictor
from fastreid.engine.setup import load_config, resolve_device
from fastreid.engine.tester import Results, Tester
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.evaluator import Evaluation
from fastreid.structures import Drawing
from fastreid.utils import comm

JOURNALS = "features.unfinished"  # folder of a test's features while they are made


def build_testers(
    cfg: CfgNode,
    tests: Mapping[str, RetrievalData],
    *,
    training: Sequence[Drawing] = (),
    weights_sha256: str = "",
    journals: Journals | None = None,
    bad: BadDrawings | None = None,
) -> list[Tester]:
    """One tester for each test set, in the order of DATASETS.TESTS.

    Args:
        cfg: settings.
        tests: the sets by name.
        training: the training drawings, for steps that learn from them.
        weights_sha256: of the weights that will be tested; "" while they are still learning.
        journals: where their features are kept as they are made; None while they are still learning.
        bad: of `build_bad_drawings`, takes note of training drawings that those steps leave out.
    """
    warn_if_slow(cfg.TEST.NETWORK_PRECISION, resolve_device(cfg), setting="TEST.NETWORK_PRECISION")
    evaluator = build_evaluator(cfg, device=resolve_device(cfg))
    width, num_training = cfg.MODEL.HEADS.EMBEDDING_DIM or cfg.MODEL.BACKBONE.FEAT_DIM, len(training) or None
    compiled: dict[nn.Module, Calls] = {}
    for data in tests.values():
        num_gallery = len(data.gallery)
        evaluator.check(width=width, num_gallery=num_gallery, num_training=num_training, model=weights_sha256)
    learn = functools.partial(embed, cfg, drawings=training, journals=journals, compiled=compiled, bad=bad)
    return [
        Tester(
            name=name,
            queries=data.queries,
            gallery=data.gallery,
            **result_options(cfg),
            embed=functools.partial(embed, cfg, journals=journals, compiled=compiled),
            evaluator=evaluator,
            embed_training=learn if training else None,
            weights_sha256=weights_sha256,
        )
        for name, data in tests.items()
    ]


def lists_of(testers: Sequence[Tester]) -> list[Sequence[Drawing]]:
    """All lists that tests read."""
    return [list_ for tester in testers for list_ in (tester.queries, tester.gallery)]


def result_options(cfg: CfgNode) -> dict[str, Any]:
    """What a config says of what is told and written of a ranking, as `Results` takes it."""
    return {
        "read": reader(cfg),
        "sheet_queries": cfg.TEST.NUM_VISUALIZED_QUERIES,
        "num_draws": cfg.TEST.SCORE.BOOTSTRAP,
        "query_table": cfg.TEST.SCORE.PER_QUERY_FILE,
    }


def reader(cfg: CfgNode):
    """Path to page, uint8 (H, W), as all of a run reads drawings."""

    def read(path: str) -> np.ndarray:
        return read_image(path, max_pixels=cfg.INPUT.MAX_PIXELS, longest_px=cfg.INPUT.LONGEST_PX)

    return read


def run_test(cfg: CfgNode, *, random_weights: bool = False) -> dict[str, Evaluation]:
    """Test MODEL.WEIGHTS on every set of DATASETS.TESTS.

    `result.npy`, `result.zip` and `ranks.png` go to OUTPUT_DIR for the first set and to a folder of its own below for
    each further one. A test that was stopped finds the features it had made.
    """
    learns = cfg.TEST.WHITEN.ENABLED
    training = build_datasets(cfg)[0] if learns and cfg.TEST.WHITEN.LEARN_FROM == "train" else ()
    bad = build_bad_drawings(cfg)
    origin = build_origin(cfg, random_weights=random_weights)
    journals = build_journals(cfg, Path(cfg.OUTPUT_DIR) / JOURNALS, origin)
    testers = build_testers(
        cfg,
        build_test_datasets(cfg),
        training=training,
        weights_sha256=origin.weights_sha256 if learns else "",
        journals=journals,
        bad=bad,
    )
    model = build_tested_model(cfg, random_weights=random_weights)
    fill_if_cached(cfg, *lists_of(testers), training=training, bad=bad)
    evaluations = {}
    for tester in testers:
        evaluations[tester.name] = tester.test(model)
        leave(cfg, tester, evaluations)
    journals.remove()
    return evaluations


def build_predictor(
    config_file: str | Path, *, weights: str | Path | None = None, opts: Sequence[str] = ()
) -> Predictor:
    """The predictor of a config file; `Predictor.from_config` is the name to call."""
    more = [] if weights is None else ["MODEL.WEIGHTS", str(weights)]
    cfg = load_config(config_file, [*opts, *more])
    warn_if_slow(cfg.TEST.NETWORK_PRECISION, resolve_device(cfg), setting="TEST.NETWORK_PRECISION")
    return Predictor(
        build_tested_model(cfg),
        build_test_transforms(cfg),
        read=reader(cfg),
        device=resolve_device(cfg),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        flip=cfg.TEST.FLIP.ENABLED,
        dtype=kind_for_features(cfg.TEST.NETWORK_PRECISION, resolve_device(cfg)),
    )


def leave(cfg: CfgNode, results: Results, evaluations: Mapping[str, Evaluation]) -> None:
    """Tell and write the newest of the evaluations; the first lies in OUTPUT_DIR itself."""
    if comm.is_main():
        folder = Path(cfg.OUTPUT_DIR)
        results.tell(evaluations[results.name])
        results.write(evaluations[results.name], folder if len(evaluations) == 1 else folder / results.name)
