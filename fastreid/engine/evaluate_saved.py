"""Evaluate saved features without a network."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode, get_cfg
from fastreid.engine.evaluate import log_and_write, result_options
from fastreid.engine.features.extract import feature_settings, training_set_name
from fastreid.engine.features.local_extraction import count_positions, describe_local_settings
from fastreid.engine.features.options import check_feature_options, check_negatives
from fastreid.engine.model.directory import find_model_directory
from fastreid.engine.model.weights_source import PRETRAINED, compute_weights_sha256
from fastreid.engine.setup import resolve_search_device
from fastreid.engine.tester import ResultWriter
from fastreid.evaluation.build import build_evaluator, uses_training_features
from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.features import Features
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures
from fastreid.evaluation.scoring.matches import check_matches
from fastreid.evaluation.storage.manifest import LOCAL_SUFFIX, Provenance, diff_values, read_manifest
from fastreid.evaluation.storage.saved_features import find_feature_folders, load_features
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger


@dataclass(frozen=True)
class LoadedDataset:
    """The saved features of one dataset, after all checks.

    Args:
        queries: features of the queries.
        query_list: query drawings.
        gallery: features of the gallery.
        gallery_list: gallery drawings.
        training: returns the features of the training drawings; None if no post-processing step uses them.
        model: sha256 of the weights of the features.
        local: returns the local features; None if no post-processing step uses them, or there are none.
    """

    queries: Embeddings
    query_list: tuple[Drawing, ...]
    gallery: Embeddings
    gallery_list: tuple[Drawing, ...]
    training: Callable[[], Features] | None
    model: str
    local: Callable[[], LocalFeatures] | None = None


def run_saved_test(cfg: CfgNode, folder: str | Path, *, require_same_weights: bool = False) -> dict[str, Evaluation]:
    """Test features saved by `extract_datasets`; no network is built and no list of DATASETS is read.

    Files are written as by `run_test`, in the order of DATASETS.TESTS, after all datasets have been checked. If the
    current settings would produce other features, a warning says so and the saved features are used.

    Args:
        cfg: settings.
        folder: folder of one dataset, or the parent of several.
        require_same_weights: raise if the features were computed with other weights than MODEL.WEIGHTS.

    Returns:
        The evaluation of each dataset by name.

    Raises:
        InputError: there are no complete features, they were computed with other weights than required, or a
            post-processing step cannot use them.
        WeightsError: a file is damaged.
    """
    folders, tests = find_feature_folders(folder), tuple(cfg.DATASETS.TESTS)
    names = sorted(folders, key=lambda name: (tests.index(name) if name in tests else len(tests), name))
    evaluator = build_evaluator(cfg, device=resolve_search_device(cfg))
    datasets = {
        name: load_saved_dataset(cfg, folders[name], evaluator, require_same_weights=require_same_weights)
        for name in names
    }
    evaluations: dict[str, Evaluation] = {}
    for name, test in datasets.items():
        check_matches(name, test.query_list, test.gallery_list)
    for name, test in datasets.items():
        results = ResultWriter(
            name=name,
            queries=test.query_list,
            gallery=test.gallery_list,
            **result_options(cfg, weights=read_manifest(folders[name]).provenance.weights),
            require_files=False,
        )
        evaluations[name] = evaluator(
            test.queries, test.gallery, training=test.training, model=test.model, local=test.local
        )
        log_and_write(cfg, results, evaluations)
    return evaluations


def load_saved_dataset(
    cfg: CfgNode,
    folder: Path,
    evaluator: Evaluator,
    *,
    require_same_weights: bool,
    with_training: bool = False,
    with_local: bool = False,
) -> LoadedDataset:
    """Load the features of one dataset and check that the evaluator can use them.

    Args:
        cfg: settings.
        folder: folder of the dataset.
        evaluator: evaluator that will use the features.
        require_same_weights: raise if the features were computed with other weights than MODEL.WEIGHTS.
        with_training: also load the features of the training drawings if no step of the config uses them.
        with_local: also load local features if no step of the config uses them.

    Raises:
        InputError: the features are incomplete, of other weights than required, or unusable for a post-processing step,
            or an option of features is invalid.
        WeightsError: a file is damaged.
    """
    check_feature_options(cfg)
    check_negatives(cfg)
    provenance = read_manifest(folder).provenance
    _check_provenance(cfg, folder, provenance, require_same_weights=require_same_weights)
    queries, gallery = load_features(folder, "queries"), load_features(folder, "gallery")
    uses_training = with_training or uses_training_features(cfg)
    training = _load_training_features(cfg, folder, provenance) if uses_training else None
    local = _load_local_features(cfg, folder) if with_local or cfg.TEST.LOCAL.ENABLED else None
    evaluator.check(
        width=gallery[0].features.shape[1],
        num_gallery=len(gallery[1]),
        num_training=None if training is None else len(training),
        model=provenance.weights_sha256,
        has_local=local is not None,
    )
    get_training = None if training is None else (lambda: training)
    get_local = None if local is None else (lambda: local)
    return LoadedDataset(*queries, *gallery, get_training, provenance.weights_sha256, get_local)


def _load_local_features(cfg: CfgNode, folder: Path) -> LocalFeatures | None:
    """Return the local features of a folder; None if it has none.

    Raises:
        InputError: they were extracted with other settings of TEST.LOCAL.
    """
    entries = read_manifest(folder).parts
    names = [f"{part}{LOCAL_SUFFIX}" for part in ("queries", "gallery")]
    if not all(name in entries for name in names):
        return None
    settings = describe_local_settings(cfg)
    for name in names:
        saved = entries[name].fingerprint.partition(" ")[2]
        if saved != settings:
            raise InputError(
                f"{folder}: the local features were extracted with {saved}, not with {settings}; change the settings, "
                "or run `fastreid extract` with yours"
            )
    queries, gallery = (load_features(folder, name)[0].features for name in names)
    return LocalFeatures(queries, gallery, count_positions(cfg))


def _load_training_features(cfg: CfgNode, folder: Path, provenance: Provenance) -> Features | None:
    """Return the training features from this folder or the sibling for DATASETS.NAMES; None if there are none."""
    candidates = (folder, folder.resolve().parent / training_set_name(cfg))
    source = next((candidate for candidate in candidates if (candidate / "train.npy").is_file()), None)
    if source is None:
        return None
    changes = read_manifest(source).provenance.diff(provenance)
    if changes:
        raise InputError(f"{source}: its training features do not match those of {folder}: {'; '.join(changes)}")
    return load_features(source, "train")[0].features


def _check_provenance(cfg: CfgNode, folder: Path, provenance: Provenance, *, require_same_weights: bool) -> None:
    """Warn if the config would produce other features, and raise if weights that must be the same are not.

    A setting that did not exist when the features were saved had its default value, as for checkpoints.
    """
    defaults, current = (feature_settings(node, random_weights=not provenance.weights) for node in (get_cfg(), cfg))
    changes = diff_values(defaults | dict(provenance.settings), current)
    if changes:
        get_logger().warning(f"{folder}: using the saved features, although {'; '.join(changes)}")
    weights = cfg.MODEL.WEIGHTS
    exists = weights == PRETRAINED or os.path.isfile(weights) or find_model_directory(weights) is not None
    if not weights or (not exists and not require_same_weights):
        return
    if exists:
        is_same = compute_weights_sha256(cfg) == provenance.weights_sha256
    else:
        is_same = os.path.abspath(weights) == provenance.weights
    if is_same:
        return
    message = (
        f"{folder}: the features were extracted with {provenance.describe_weights()}, not with MODEL.WEIGHTS {weights}"
    )
    if require_same_weights:
        raise InputError(
            f"{message}; leave MODEL.WEIGHTS out to rank them, or run `fastreid extract` with these weights"
        )
    get_logger().warning(f"{message} of the config file; using the saved features")
