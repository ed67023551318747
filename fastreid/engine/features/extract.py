"""Extract features as a config describes: of a list of drawings, or of whole datasets into folders."""

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid import __version__
from fastreid.config import CfgNode
from fastreid.config.config import iter_settings
from fastreid.data.build import check_readable, fill_cache_if_enabled, log_color_mode
from fastreid.data.io.reader import ReadPage
from fastreid.data.loading.unreadable import UnreadableDrawings
from fastreid.data.loading.workers import translate_worker_errors
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.data import build_datasets, build_test_datasets, build_test_loader
from fastreid.engine.features.image_settings import TEST_SETTINGS, select_page_settings
from fastreid.engine.features.inference import run_inference
from fastreid.engine.features.journal import JournalFolder
from fastreid.engine.features.local_extraction import build_local_network, fingerprint_part, is_local, without_averages
from fastreid.engine.features.options import check_network_options, get_feature_options
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.model.weights_source import compute_weights_sha256, find_weights
from fastreid.engine.precision import explain_float16_overflow, inference_dtype, warn_if_dtype_is_slow
from fastreid.engine.run_checks import check_component_names
from fastreid.engine.setup import resolve_device
from fastreid.evaluation.scoring.matches import check_matches
from fastreid.evaluation.storage.manifest import LOCAL_SUFFIX, Manifest, Provenance, read_manifest
from fastreid.evaluation.storage.saved_features import FeaturePart, save_features, stale_parts
from fastreid.structures import Drawing, Embeddings
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.logger import get_logger

SPLITS = ("test", "train", "all")

# Settings that do not affect the features of a test, by the start of their names. MODEL.DEVICE and, in float32,
# MODEL.COMPILE can change the last bits; TEST.IMS_PER_BATCH is ignored for the same reason.
FEATURE_IRRELEVANT_SETTINGS = (
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.FREEZE_LAYERS",
    "MODEL.LOSSES.",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.FEAT_DIM",
    "MODEL.BACKBONE.DROP_PATH",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "MODEL.HEADS.NUM_CLASSES",
    "MODEL.DISTILL.",
    "MODEL.HEADS.SUB_CENTERS",
    "MODEL.HEADS.PROJECTION",
    "MODEL.HEADS.SHRINKAGE",
    "MODEL.HEADS.CLS_LAYER",
    "MODEL.HEADS.MARGIN",
    "MODEL.HEADS.SCALE",
    "MODEL.HEADS.PARTIAL_FC_RATIO",
    "MODEL.HEADS.NECK_FEAT",
)


@dataclass(frozen=True)
class SavedDataset:
    """Result of the extraction of one dataset.

    Args:
        folder: folder of its features.
        manifest: content of the folder.
        extracted_parts: parts that were extracted now; empty if all features were already there.
    """

    folder: Path
    manifest: Manifest
    extracted_parts: tuple[str, ...]


def extract_features(
    cfg: CfgNode,
    model: nn.Module,
    drawings: Sequence[Drawing],
    *,
    journals: JournalFolder | None = None,
    unreadable: UnreadableDrawings | None = None,
    compiled: MutableMapping[nn.Module, CompiledCaller] | None = None,
    read: ReadPage | None = None,
) -> Embeddings:
    """Return the features of a list of drawings, processed as in a test, without augmentation.

    Every process must call this function and receives all features. `build_datasets(cfg)[0]` are the training drawings.

    Args:
        cfg: settings.
        model: the network, on its device.
        drawings: the list.
        journals: stores finished batches, so that a stopped extraction is resumed; None: nothing is stored.
        unreadable: records unreadable drawings, which are skipped; None: an unreadable drawing raises InputError.
        compiled: compiled callers by model, which MODEL.COMPILE reuses in the next call.
        read: reads the page of a drawing; None: as `build_reader`.
    """
    comm.broadcast_buffers(model)
    check_network_options(cfg, model)
    device = resolve_device(cfg)
    load = functools.partial(
        build_test_loader,
        cfg,
        drawings,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
        device=device,
        unreadable=unreadable,
        read=read,
    )
    dtype = inference_dtype(cfg.TEST.NETWORK_PRECISION, device)
    infer: Callable[..., Embeddings] = functools.partial(
        run_inference,
        model,
        drawings=drawings,
        device=device,
        **get_feature_options(cfg),
        dtype=dtype,
        skip_missing=unreadable is not None,
        caller=_compiled_caller(model, {} if compiled is None else compiled) if cfg.MODEL.COMPILE else None,
        pad_to=cfg.TEST.IMS_PER_BATCH,
    )
    if journals is None:
        with explain_float16_overflow(dtype), translate_worker_errors():
            return infer(load())
    journal = journals.open(drawings)
    done = journal.read() if comm.is_main_process() else {}
    if done:
        num = sum(len(part) for part in done.values())
        get_logger().info(f"{num} of {len(drawings)} features loaded from a stopped run")

    def save_batch(rows: Tensor, features: Tensor) -> None:
        first, size = int(rows[0]), cfg.TEST.IMS_PER_BATCH
        if first % size or rows.tolist() != list(range(first, min(first + size, len(drawings)))):
            return  # another drawing replaces an unreadable one, but a record stores only its first row
        # Raises before invalid features are saved.
        Embeddings.from_drawings(features, [drawings[row] for row in rows.tolist()])
        journal.add(first, features)

    try:
        with explain_float16_overflow(dtype), translate_worker_errors():
            return infer(load(done=comm.all_gather_object(set(done))[0]), done=done, on_batch=save_batch)
    finally:
        journal.close()


def extract_local_features(cfg: CfgNode, model: nn.Module, drawings: Sequence[Drawing]) -> Embeddings:
    """Return the rows of a `LocalNetwork` for a list of drawings; arguments as for `extract_features`."""
    return extract_features(without_averages(cfg), build_local_network(cfg, model), drawings)


def build_journals(cfg: CfgNode, folder: Path, provenance: Provenance) -> JournalFolder:
    """Return the journals that store the batches of an extraction until it is complete.

    In addition to the settings that affect features, the device, the compiler and the batch size
    must equal those of the stopped run, because they can change the last bits.
    """
    changes_last_bits = [cfg.MODEL.DEVICE, cfg.MODEL.COMPILE, cfg.TEST.IMS_PER_BATCH]
    key = [provenance.settings, provenance.versions, provenance.weights_sha256, *changes_last_bits]
    return JournalFolder(folder, json.dumps(key, sort_keys=True))


def _compiled_caller(model: nn.Module, callers: MutableMapping[nn.Module, CompiledCaller]) -> CompiledCaller:
    if model not in callers:
        callers[model] = CompiledCaller(lambda: model, compiled=True)
    return callers[model]


def extract_datasets(
    cfg: CfgNode, *, split: str = "test", output: str | Path | None = None, random_weights: bool = False
) -> Iterator[SavedDataset]:
    """Save the features of each dataset in its own folder; every process must iterate over all results.

    Process 0 writes. Valid features with the same provenance and image list are kept and not extracted again.

    Args:
        cfg: settings.
        split: "test": queries and gallery of each dataset of DATASETS.TESTS; "train": the training drawings of
            DATASETS.NAMES, as one dataset with their joined names; or "all".
        output: parent of the folders; None: OUTPUT_DIR/features.
        random_weights: use an untrained network.

    Yields:
        The result of each dataset, as soon as its features are saved.

    Raises:
        EnvironmentSetupError: a folder cannot be written; raised before any extraction.
        InputError: no query of a test set has a match, or a drawing is unreadable, even a training drawing with
            INPUT.ON_BAD_IMAGE skip, because features have one row per drawing of the list.
    """
    check_component_names(cfg, training=False)
    warn_if_dtype_is_slow(cfg.TEST.NETWORK_PRECISION, resolve_device(cfg), setting="TEST.NETWORK_PRECISION")
    root = Path(cfg.OUTPUT_DIR) / "features" if output is None else Path(output)
    provenance = build_provenance(cfg, random_weights=random_weights)
    model: nn.Module | None = None
    compiled: dict[nn.Module, CompiledCaller] = {}
    datasets = _drawing_lists(cfg, split)
    all_lists = [drawings for lists in datasets.values() for drawings in lists.values()]
    check_readable(cfg, *all_lists, decode=False)
    log_color_mode(cfg, *all_lists)
    for name, listed in datasets.items():
        lists = {part: _with_absolute_paths(drawings) for part, drawings in listed.items()}
        folder, dataset_provenance = root / name, replace(provenance, dataset=name)
        fingerprints = {part: fingerprint_part(cfg, part, drawings) for part, drawings in lists.items()}
        [reasons, *_] = comm.all_gather_object(
            _parts_to_extract(folder, fingerprints, dataset_provenance) if comm.is_main_process() else {}
        )
        if reasons:
            reason = "; ".join(dict.fromkeys(reasons.values()))
            get_logger().info(f"{folder}: extracting features of {' and '.join(reasons)}: {reason}")
            model = model or build_model_with_weights(cfg, random_weights=random_weights)
            fill_cache_if_enabled(cfg, *(lists[part] for part in reasons))
            journals = build_journals(cfg, folder, dataset_provenance)
            extract = functools.partial(extract_features, cfg, model, journals=journals, compiled=compiled)
            extract_local = functools.partial(extract_local_features, cfg, model)
            extractors = {part: extract_local if is_local(part) else extract for part in reasons}
            parts = (
                FeaturePart(part, extractors[part](lists[part]), lists[part], fingerprints[part]) for part in reasons
            )
            if comm.is_main_process():
                save_features(folder, parts, provenance=dataset_provenance)
            else:
                for _ in parts:
                    continue
            journals.remove()
        comm.all_gather_object(None)  # wait until process 0 has written what the others read
        yield SavedDataset(folder, read_manifest(folder), tuple(reasons))


def build_provenance(cfg: CfgNode, *, random_weights: bool = False) -> Provenance:
    """Return the provenance of features of this config, without the name of the dataset."""
    return Provenance(
        dataset="",
        weights="" if random_weights else find_weights(cfg).name,
        weights_sha256="" if random_weights else compute_weights_sha256(cfg),
        settings=feature_settings(cfg, random_weights=random_weights),
        config=cfg.dump(),
        versions={"fastreid": __version__, "torch": torch.__version__},
    )


def feature_settings(cfg: CfgNode, *, random_weights: bool = False) -> dict[str, Any]:
    """Return the settings that affect features by full name, with lists instead of tuples, as in JSON."""
    settings = {
        name: value
        for name, value in iter_settings(cfg.MODEL, "MODEL.")
        if not name.startswith(FEATURE_IRRELEVANT_SETTINGS)
    }
    all_settings = dict(iter_settings(cfg))
    settings |= select_page_settings(all_settings) | {name: all_settings[name] for name in TEST_SETTINGS}
    if cfg.INPUT.COLOR == "gray":
        del settings["INPUT.COLOR"]  # absent for gray, as in earlier versions
    if cfg.MODEL.COMPILE and cfg.TEST.NETWORK_PRECISION != "float32":
        settings["MODEL.COMPILE"] = True  # compiled code rounds to 16 bits less often
    if random_weights:
        settings["SEED"] = cfg.SEED
    return dict(json.loads(json.dumps(settings)))


def training_set_name(cfg: CfgNode) -> str:
    """Return the name for the features of the training drawings: the joined names of DATASETS.NAMES."""
    return "+".join(cfg.DATASETS.NAMES)


def _drawing_lists(cfg: CfgNode, split: str) -> dict[str, dict[str, Sequence[Drawing]]]:
    """Return dataset -> part -> drawings."""
    if split not in SPLITS:
        raise InputError(f"--split {split} is unknown; available: {', '.join(SPLITS)}")
    train, tests = ((), build_test_datasets(cfg)) if split == "test" else build_datasets(cfg)
    lists: dict[str, dict[str, Sequence[Drawing]]] = {}
    if split != "train":
        for name, data in tests.items():
            check_matches(name, data.queries, data.gallery)
            lists[name] = {"queries": data.queries, "gallery": data.gallery}
            if cfg.TEST.LOCAL.ENABLED:
                lists[name] |= {f"{part}{LOCAL_SUFFIX}": drawings for part, drawings in lists[name].items()}
    if split != "test":
        lists.setdefault(training_set_name(cfg), {})["train"] = train
    return lists


def _with_absolute_paths(drawings: Sequence[Drawing]) -> tuple[Drawing, ...]:
    """Return drawings with absolute paths, so that saved features work from any folder."""
    return tuple(
        drawing if drawing.is_synthetic else replace(drawing, path=os.path.abspath(drawing.path))
        for drawing in drawings
    )


def _parts_to_extract(folder: Path, fingerprints: Mapping[str, str], provenance: Provenance) -> dict[str, str]:
    """Return the parts to extract with the reasons; if there are any, create the folder and check write access."""
    reasons = stale_parts(folder, fingerprints, provenance=provenance)
    try:
        if reasons:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentSetupError(f"{folder}: cannot be created ({error.strerror}); choose another with --output")
    if reasons and not os.access(folder, os.W_OK):
        raise EnvironmentSetupError(f"{folder}: is not writable; choose another with --output")
    return reasons
