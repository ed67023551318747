"""From a config to tests: of weights, of saved features, and the predictor that sees as they do."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from fastreid.config import CfgNode
from fastreid.data.build import build_datasets, build_test_datasets, build_test_transforms
from fastreid.data.datasets.base import RetrievalData
from fastreid.data.image import read_image
from fastreid.engine.extraction.build import build_tested_model, embed, feature_settings, training_set
from fastreid.engine.predictor import Predictor
from fastreid.engine.setup import device_of, load_config
from fastreid.engine.tester import Results, Tester
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.evaluator import Evaluation
from fastreid.evaluation.feature_manifest import Origin, changed, read_manifest
from fastreid.evaluation.features import Features
from fastreid.evaluation.saved_features import feature_folders, load_features
from fastreid.evaluation.steps import Whiten
from fastreid.evaluation.tuning import Grid, Trial, tune
from fastreid.structures import Drawing
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.files import sha256_of
from fastreid.utils.logger import get_logger


def build_testers(
    cfg: CfgNode, tests: Mapping[str, RetrievalData], *, training: Sequence[Drawing] = (), weights_sha256: str = ""
) -> list[Tester]:
    """One tester for each test set, in the order of DATASETS.TESTS.

    Args:
        cfg: settings.
        tests: the sets by name.
        training: the training drawings, for steps that learn from them.
        weights_sha256: of the weights that will be tested; "" while they are still learning.
    """
    evaluator = build_evaluator(cfg, device=device_of(cfg))
    for step in evaluator.steps:
        if isinstance(step, Whiten):
            step.check_model(weights_sha256)
    return [
        Tester(
            name=name,
            queries=data.queries,
            gallery=data.gallery,
            read=reader(cfg),
            sheet_queries=cfg.TEST.SHEET_QUERIES,
            num_draws=cfg.TEST.SCORE.BOOTSTRAP,
            query_table=cfg.TEST.SCORE.TABLE,
            embed=functools.partial(embed, cfg),
            evaluator=evaluator,
            training=training,
            weights_sha256=weights_sha256,
        )
        for name, data in tests.items()
    ]


def reader(cfg: CfgNode):
    """Path to page, uint8 (H, W), as all of a run reads drawings."""

    def read(path: str) -> np.ndarray:
        return read_image(path, max_pixels=cfg.INPUT.MAX_PIXELS)

    return read


def run_test(cfg: CfgNode, *, random_weights: bool = False) -> dict[str, Evaluation]:
    """Test MODEL.WEIGHTS on every set of DATASETS.TESTS.

    `result.npy`, `result.zip` and `ranks.png` go to OUTPUT_DIR for the first set and to a folder of its own below for
    each further one.
    """
    learns = cfg.TEST.WHITEN.ENABLED
    training = build_datasets(cfg)[0] if learns and cfg.TEST.WHITEN.LEARN_FROM == "train" else ()
    digest = sha256_of(cfg.MODEL.WEIGHTS) if learns and not random_weights and os.path.isfile(cfg.MODEL.WEIGHTS) else ""
    testers = build_testers(cfg, build_test_datasets(cfg), training=training, weights_sha256=digest)
    model = build_tested_model(cfg, random_weights=random_weights)
    evaluations = {}
    for tester in testers:
        evaluations[tester.name] = tester.test(model)
        _leave(cfg, tester, evaluations)
    return evaluations


def run_saved_test(cfg: CfgNode, folder: str | Path, *, weights_asked: bool = False) -> dict[str, Evaluation]:
    """Test the features that `extract_sets` saved; no network is built and no list of DATASETS is read.

    Files are written as by `run_test`, the sets of DATASETS.TESTS first. Where the settings would give other features
    now, a line says so and the saved ones count.

    Args:
        cfg: settings.
        folder: of one set, or one with folders of sets.
        weights_asked: MODEL.WEIGHTS was asked for just now, so features of other weights are refused.

    Raises:
        InputError: no finished features, or features of other weights than those asked for.
        WeightsError: a file is damaged.
    """
    found = feature_folders(folder)
    tests = tuple(cfg.DATASETS.TESTS)
    loaded = {}
    for name in sorted(found, key=lambda name: (tests.index(name) if name in tests else len(tests), name)):
        _compare(cfg, found[name], read_manifest(found[name]).origin, weights_asked=weights_asked)
        loaded[name] = load_features(found[name], "queries"), load_features(found[name], "gallery")
    evaluator = build_evaluator(cfg, device=device_of(cfg))
    evaluations = {}
    for name, ((queries, query_list), (gallery, gallery_list)) in loaded.items():
        results = Results(
            name=name,
            queries=query_list,
            gallery=gallery_list,
            read=reader(cfg),
            sheet_queries=cfg.TEST.SHEET_QUERIES,
            num_draws=cfg.TEST.SCORE.BOOTSTRAP,
            query_table=cfg.TEST.SCORE.TABLE,
            files_needed=False,
        )
        origin = read_manifest(found[name]).origin
        training = _training_of(cfg, found[name], origin)
        evaluations[name] = evaluator(queries, gallery, training=training, model=origin.weights_sha256)
        _leave(cfg, results, evaluations)
    return evaluations


def tune_saved(
    cfg: CfgNode,
    folder: str | Path,
    *,
    grid: Grid,
    num_queries: int = 0,
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> list[Trial]:
    """Try the choices of a grid on saved features; the best first, by TEST.SELECT_BY.

    Args:
        cfg: settings; the steps that are on come before all that is tried.
        folder: of one set, with patents that are known.
        grid: what is tried.
        num_queries: take only so many queries, evenly over the list; 0: all.
        on_trial: as for `tune`.

    Raises:
        InputError: several sets, patents that are not known, a score there is not.
        WeightsError: a file is damaged.
    """
    found = feature_folders(folder)
    if len(found) > 1:
        raise InputError(f"{folder}: there are {', '.join(found)}; name the folder of one of them")
    [place] = found.values()
    (queries, _), (gallery, _) = load_features(place, "queries"), load_features(place, "gallery")
    if 0 < num_queries < len(queries.names):
        queries = queries.some(torch.linspace(0, len(queries.names) - 1, num_queries).long())
    evaluator = build_evaluator(cfg, device=device_of(cfg))
    return tune(evaluator, queries, gallery, grid=grid, select_by=cfg.TEST.SELECT_BY, on_trial=on_trial)


def build_predictor(
    config_file: str | Path, *, weights: str | Path | None = None, opts: Sequence[str] = ()
) -> Predictor:
    """The predictor of a config file; `Predictor.from_config` is the name to call."""
    more = [] if weights is None else ["MODEL.WEIGHTS", str(weights)]
    cfg = load_config(config_file, [*opts, *more])
    return Predictor(
        build_tested_model(cfg),
        build_test_transforms(cfg),
        read=reader(cfg),
        device=device_of(cfg),
        batch_size=cfg.TEST.IMS_PER_BATCH,
        flip=cfg.TEST.FLIP.ENABLED,
    )


def _leave(cfg: CfgNode, results: Results, evaluations: Mapping[str, Evaluation]) -> None:
    """Tell and write the newest of the evaluations; the first lies in OUTPUT_DIR itself."""
    if comm.is_main():
        folder = Path(cfg.OUTPUT_DIR)
        results.tell(evaluations[results.name])
        results.write(evaluations[results.name], folder if len(evaluations) == 1 else folder / results.name)


def _training_of(cfg: CfgNode, folder: Path, origin: Origin) -> Callable[[], Features] | None:
    """Gives the training features that lie with those of a set, or beside them as the set of DATASETS.NAMES."""
    places = (folder, folder.resolve().parent / training_set(cfg))
    place = next((place for place in places if (place / "train.npy").is_file()), None)
    if place is None:
        return None

    def load() -> Features:
        changes = read_manifest(place).origin.changes(origin)
        if changes:
            raise InputError(f"{place}: its training features are not like those of {folder}: {'; '.join(changes)}")
        return load_features(place, "train")[0].features

    return load


def _compare(cfg: CfgNode, folder: Path, origin: Origin, *, weights_asked: bool) -> None:
    """Say, or refuse, that features were made from something else than the config names."""
    changes = changed(origin.settings, feature_settings(cfg, random_weights=not origin.weights))
    if changes:
        get_logger().warning(f"{folder}: the saved features count, though {'; '.join(changes)}")
    named = cfg.MODEL.WEIGHTS
    if not named or (not os.path.isfile(named) and not weights_asked):
        return
    if os.path.isfile(named):
        same = sha256_of(named) == origin.weights_sha256
    else:
        same = os.path.abspath(named) == origin.weights
    told = f"{folder}: its features were made with {origin.told_weights()}, not with MODEL.WEIGHTS {named}"
    if weights_asked and not same:
        raise InputError(f"{told}; leave MODEL.WEIGHTS out to rank them, or run tools/extract.py with these weights")
    if not same:
        get_logger().warning(f"{told} of the config file; the saved features count")
