"""From a config to a test of saved features, and to the post-processing that serves best on them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from fastreid.config import CfgNode, get_cfg
from fastreid.engine.evaluate import leave, result_options
from fastreid.engine.features import feature_settings, training_set
from fastreid.engine.setup import resolve_device
from fastreid.engine.tester import Results
from fastreid.evaluation.build import build_evaluator
from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.features import Features
from fastreid.evaluation.postprocess.tuning import Grid, Trial, check_grid, tune
from fastreid.evaluation.storage.manifest import Origin, changed, read_manifest
from fastreid.evaluation.storage.saved_features import feature_folders, load_features
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError
from fastreid.utils.files import sha256_of
from fastreid.utils.logger import get_logger


@dataclass(frozen=True)
class _SavedTest:
    """A set of saved features, checked and ready to be ranked."""

    queries: Embeddings
    query_list: tuple[Drawing, ...]
    gallery: Embeddings
    gallery_list: tuple[Drawing, ...]
    training: Callable[[], Features] | None
    model: str


def run_saved_test(cfg: CfgNode, folder: str | Path, *, weights_asked: bool = False) -> dict[str, Evaluation]:
    """Test the features that `extract_sets` saved; no network is built and no list of DATASETS is read.

    Files are written as by `run_test`, the sets of DATASETS.TESTS first, once all sets are known to be sound. Where the
    settings would give other features now, a line says so and the saved ones count.

    Args:
        cfg: settings.
        folder: of one set, or one with folders of sets.
        weights_asked: MODEL.WEIGHTS was asked for just now, so features of other weights are refused.

    Raises:
        InputError: no finished features, features of other weights than those asked for, or those that a step of
            post-processing cannot work on.
        WeightsError: a file is damaged.
    """
    found, tests = feature_folders(folder), tuple(cfg.DATASETS.TESTS)
    names = sorted(found, key=lambda name: (tests.index(name) if name in tests else len(tests), name))
    evaluator = build_evaluator(cfg, device=resolve_device(cfg))
    sets = {name: _open(cfg, found[name], evaluator, weights_asked=weights_asked) for name in names}
    evaluations: dict[str, Evaluation] = {}
    for name, test in sets.items():
        results = Results(
            name=name,
            queries=test.query_list,
            gallery=test.gallery_list,
            **result_options(cfg),
            files_needed=False,
        )
        evaluations[name] = evaluator(test.queries, test.gallery, training=test.training, model=test.model)
        leave(cfg, results, evaluations)
    return evaluations


def tune_saved(
    cfg: CfgNode,
    folder: str | Path,
    *,
    grid: Grid,
    num_queries: int = 0,
    weights_asked: bool = False,
    on_trial: Callable[[Trial, int, int], None] | None = None,
) -> list[Trial]:
    """Try the choices of a grid on saved features; the best first, by TEST.SELECT_BY.

    Args:
        cfg: settings; the steps that are on come before all that is tried.
        folder: of one set, with patents that are known.
        grid: what is tried.
        num_queries: take only so many queries, evenly over the list; 0: all.
        weights_asked: as for `run_saved_test`.
        on_trial: as for `tune`.

    Raises:
        InputError: several sets, or what `run_saved_test` and `tune` refuse.
        WeightsError: a file is damaged.
    """
    evaluator = build_evaluator(cfg, device=resolve_device(cfg))
    check_grid(evaluator, grid, select_by=cfg.TEST.SELECT_BY)
    found = feature_folders(folder)
    if len(found) > 1:
        raise InputError(f"{folder}: there are {', '.join(found)}; name the folder of one of them")
    [place] = found.values()
    test = _open(cfg, place, evaluator, weights_asked=weights_asked)
    queries = test.queries
    if 0 < num_queries < len(queries.names):
        queries = queries.select(torch.linspace(0, len(queries.names) - 1, num_queries).long())
    return tune(
        evaluator,
        queries,
        test.gallery,
        grid=grid,
        select_by=cfg.TEST.SELECT_BY,
        num_draws=cfg.TEST.SCORE.BOOTSTRAP,
        training=test.training,
        model=test.model,
        on_trial=on_trial,
    )


def _open(cfg: CfgNode, folder: Path, evaluator: Evaluator, *, weights_asked: bool) -> _SavedTest:
    """A set whose files are whole and whose features the evaluator can work on."""
    origin = read_manifest(folder).origin
    _compare(cfg, folder, origin, weights_asked=weights_asked)
    queries, gallery = load_features(folder, "queries"), load_features(folder, "gallery")
    training = _training_of(cfg, folder, origin)
    evaluator.check(
        width=gallery[0].features.shape[1],
        num_gallery=len(gallery[1]),
        num_training=None if training is None else len(training),
        model=origin.weights_sha256,
    )
    learnt_from = None if training is None else (lambda: training)
    return _SavedTest(*queries, *gallery, learnt_from, origin.weights_sha256)


def _training_of(cfg: CfgNode, folder: Path, origin: Origin) -> Features | None:
    """The training features, if a step learns from them: with those of a set, or beside as the set of DATASETS.NAMES."""
    if not cfg.TEST.WHITEN.ENABLED or cfg.TEST.WHITEN.LEARN_FROM != "train":
        return None
    places = (folder, folder.resolve().parent / training_set(cfg))
    place = next((place for place in places if (place / "train.npy").is_file()), None)
    if place is None:
        return None
    changes = read_manifest(place).origin.changes(origin)
    if changes:
        raise InputError(f"{place}: its training features are not like those of {folder}: {'; '.join(changes)}")
    return load_features(place, "train")[0].features


def _compare(cfg: CfgNode, folder: Path, origin: Origin, *, weights_asked: bool) -> None:
    """Say, or refuse, that features were made from something else than the config names.

    A setting that is newer than the features had its default, as for checkpoints.
    """
    defaults, now = (feature_settings(given, random_weights=not origin.weights) for given in (get_cfg(), cfg))
    changes = changed(defaults | dict(origin.settings), now)
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
