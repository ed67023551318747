"""From a config to features: a network with its weights, the features of a list, folders of them."""

import functools
import json
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid import __version__
from fastreid.config import CfgNode
from fastreid.data.build import build_datasets, build_test_datasets, build_test_loader
from fastreid.data.io.build import fill_if_cached
from fastreid.data.loading.unreadable import BadDrawings
from fastreid.data.loading.workers import deaths_told
from fastreid.engine.compile import Calls
from fastreid.engine.feature_journal import Journals
from fastreid.engine.inference import extract
from fastreid.engine.precision import kind_for_features, telling_of_overflow, warn_if_slow
from fastreid.engine.setup import resolve_device, to_device
from fastreid.evaluation.storage.manifest import Manifest, Origin, read_manifest
from fastreid.evaluation.storage.saved_features import FeaturePart, save_features, stamp_of, why_anew
from fastreid.modeling import build_model
from fastreid.modeling.weights import load_state, model_state, read_weights
from fastreid.structures import Drawing, Embeddings
from fastreid.utils import comm
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import sha256_of
from fastreid.utils.logger import get_logger

CLASSIFIER = "heads.weight"  # the one tensor that belongs to the training patents and not to the network
SPLITS = ("test", "train", "all")

# Settings that leave the features of a test as they are, by the beginnings of their names. TEST.IMS_PER_BATCH and
# MODEL.DEVICE are left out too: they move last bits; so do MODEL.CHANNELS_LAST and, in float32, MODEL.COMPILE.
SHAPES_NOTHING = (
    "MODEL.CHANNELS_LAST",
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.FREEZE_LAYERS",
    "MODEL.LOSSES.",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "MODEL.HEADS.NUM_CLASSES",
    "MODEL.HEADS.CLS_LAYER",
    "MODEL.HEADS.MARGIN",
    "MODEL.HEADS.SCALE",
    "MODEL.HEADS.PARTIAL_FC_RATIO",
)


@dataclass(frozen=True)
class SavedSet:
    """What the extraction of one set came to.

    Args:
        folder: where its features lie.
        manifest: what the folder holds now.
        made: the parts that were made; empty when all was there already.
    """

    folder: Path
    manifest: Manifest
    made: tuple[str, ...]


def build_tested_model(cfg: CfgNode, *, random_weights: bool = False) -> nn.Module:
    """The network of a config with MODEL.WEIGHTS in it, on its device.

    Raises:
        InputError: no weights are named; `random_weights` insists on an untrained network.
        WeightsError: the weights do not fit.
    """
    if random_weights:
        return to_device(cfg, build_model(cfg, num_classes=cfg.MODEL.HEADS.NUM_CLASSES or 1))
    state = model_state(read_weights(_named_weights(cfg)))
    num_classes = len(state[CLASSIFIER]) if CLASSIFIER in state else cfg.MODEL.HEADS.NUM_CLASSES or 1
    model = build_model(cfg, num_classes=num_classes)
    report = load_state(model, state, may_differ=() if CLASSIFIER in state else (CLASSIFIER,), source=cfg.MODEL.WEIGHTS)
    get_logger().info(f"{cfg.MODEL.WEIGHTS}: {report}")
    return to_device(cfg, model)


def embed(
    cfg: CfgNode,
    model: nn.Module,
    drawings: Sequence[Drawing],
    *,
    journals: Journals | None = None,
    bad: BadDrawings | None = None,
    compiled: MutableMapping[nn.Module, Calls] | None = None,
) -> Embeddings:
    """The features of any list as a test sees it, without augmentation; every process must call it and gets them all.

    Those of the training drawings: `embed(cfg, model, build_datasets(cfg)[0])`.

    Args:
        cfg: settings.
        model: the network, on its device.
        drawings: the list.
        journals: where batches are kept as they are made, and found again after a stop.
        bad: takes note of drawings that cannot be read, which are left out; None: they are refused.
        compiled: where MODEL.COMPILE keeps what it made of a model for the next call.
    """
    comm.share_buffers(model)
    device = resolve_device(cfg)
    load = functools.partial(
        build_test_loader, cfg, drawings, rank=comm.rank(), world_size=comm.world_size(), device=device, bad=bad
    )
    dtype = kind_for_features(cfg.TEST.NETWORK_PRECISION, device)
    make = functools.partial(
        extract,
        model,
        drawings=drawings,
        device=device,
        flip=cfg.TEST.FLIP.ENABLED,
        dtype=dtype,
        leave_out=bad is not None,
        calls=_calls_of(model, {} if compiled is None else compiled) if cfg.MODEL.COMPILE else None,
        fill_to=cfg.TEST.IMS_PER_BATCH,
    )
    if journals is None:
        with telling_of_overflow(dtype), deaths_told():
            return make(load())
    journal = journals.of(drawings)
    done = journal.read() if comm.is_main() else {}
    if done:
        num = sum(len(part) for part in done.values())
        get_logger().info(f"{num} of {len(drawings)} features are there from a run that was stopped")

    def keep(rows: Tensor, features: Tensor) -> None:
        first, size = int(rows[0]), cfg.TEST.IMS_PER_BATCH
        if first % size or rows.tolist() != list(range(first, min(first + size, len(drawings)))):
            return  # one stands in for a drawing that cannot be read, and a record knows its first row alone
        Embeddings.of(features, [drawings[row] for row in rows.tolist()])  # refuses what is not to be kept
        journal.add(first, features)

    try:
        with telling_of_overflow(dtype), deaths_told():
            return make(load(done=comm.gather(set(done))[0]), done=done, keep=keep)
    finally:
        journal.close()


def build_journals(cfg: CfgNode, folder: Path, origin: Origin) -> Journals:
    """Where the batches of a run's features are kept until they are all there.

    Beside what shapes features, the device, its layout, the compiler and the size of batches must be those of the run
    that was stopped, as they may move last bits.
    """
    may_move = [cfg.MODEL.DEVICE, cfg.MODEL.CHANNELS_LAST, cfg.MODEL.COMPILE, cfg.TEST.IMS_PER_BATCH]
    shaped_by = [origin.settings, origin.versions, origin.weights_sha256, *may_move]
    return Journals(folder, json.dumps(shaped_by, sort_keys=True))


def _calls_of(model: nn.Module, made: MutableMapping[nn.Module, Calls]) -> Calls:
    if model not in made:
        made[model] = Calls(lambda: model, compiled=True)
    return made[model]


def extract_sets(
    cfg: CfgNode, *, split: str = "test", output: str | Path | None = None, random_weights: bool = False
) -> Iterator[SavedSet]:
    """Save the features of each set in a folder of its own; every process must go through all of them.

    Process 0 writes. What a folder holds already, sound and from the same origin and list, is not made again.

    Args:
        cfg: settings.
        split: "test": queries and gallery of each set of DATASETS.TESTS; "train": the training drawings of
            DATASETS.NAMES, as one set named after them all; or "all".
        output: where the folders come; OUTPUT_DIR/features when None.
        random_weights: features of a network that has not learnt anything.

    Raises:
        EnvironmentSetupError: a folder cannot be written; told before any work.
        InputError: a drawing cannot be read, also one of training with INPUT.ON_BAD_IMAGE skip: features have a row for
            every drawing of the list.
    """
    warn_if_slow(cfg.TEST.NETWORK_PRECISION, resolve_device(cfg), setting="TEST.NETWORK_PRECISION")
    root = Path(cfg.OUTPUT_DIR) / "features" if output is None else Path(output)
    origin = build_origin(cfg, random_weights=random_weights)
    model: nn.Module | None = None
    compiled: dict[nn.Module, Calls] = {}
    for name, lists in _lists(cfg, split).items():
        folder, own = root / name, replace(origin, dataset=name)
        stamps = {part: stamp_of(drawings) for part, drawings in lists.items()}
        [reasons, *_] = comm.gather(_why_anew(folder, stamps, own) if comm.is_main() else {})
        if reasons:
            why = "; ".join(dict.fromkeys(reasons.values()))
            get_logger().info(f"{folder}: making features of {' and '.join(reasons)}, since {why}")
            model = model or build_tested_model(cfg, random_weights=random_weights)
            fill_if_cached(cfg, *(lists[part] for part in reasons))
            journals = build_journals(cfg, folder, own)
            make = functools.partial(embed, cfg, model, journals=journals, compiled=compiled)
            parts = (FeaturePart(part, make(lists[part]), lists[part], stamps[part]) for part in reasons)
            if comm.is_main():
                save_features(folder, parts, origin=own)
            else:
                for _ in parts:
                    continue
            journals.remove()
        comm.gather(None)  # the others read what process 0 has written
        yield SavedSet(folder, read_manifest(folder), tuple(reasons))


def build_origin(cfg: CfgNode, *, random_weights: bool = False) -> Origin:
    """What features of this config are made from; the set's name is left open."""
    return Origin(
        dataset="",
        weights="" if random_weights else os.path.abspath(_named_weights(cfg)),
        weights_sha256="" if random_weights else sha256_of(cfg.MODEL.WEIGHTS),
        settings=feature_settings(cfg, random_weights=random_weights),
        config=cfg.dump(),
        versions={"fastreid": __version__, "torch": torch.__version__},
    )


def feature_settings(cfg: CfgNode, *, random_weights: bool = False) -> dict[str, Any]:
    """The settings that shape features, by full name, with lists for tuples as JSON has it."""
    found = {name: value for name, value in _leaves("MODEL", cfg.MODEL) if not name.startswith(SHAPES_NOTHING)}
    found |= {
        "INPUT.SIZE_TEST": cfg.INPUT.SIZE_TEST,
        "INPUT.LONGEST_PX": cfg.INPUT.LONGEST_PX,
        "INPUT.ASPECT": cfg.INPUT.ASPECT,
        "INPUT.FILL": "" if cfg.INPUT.ASPECT == "squash" else cfg.INPUT.FILL,
        "INPUT.LABEL.IN_TESTS": cfg.INPUT.LABEL.IN_TESTS,
        "INPUT.INK_CROP.IN_TESTS": cfg.INPUT.INK_CROP.IN_TESTS,
        "INPUT.INK_CROP.MARGIN": cfg.INPUT.INK_CROP.MARGIN if cfg.INPUT.INK_CROP.IN_TESTS else "",
        "INPUT.CROP.ENABLED": cfg.INPUT.CROP.ENABLED,
        "INPUT.CROP.SIZE": cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else "",
        "TEST.FLIP.ENABLED": cfg.TEST.FLIP.ENABLED,
        "TEST.NETWORK_PRECISION": cfg.TEST.NETWORK_PRECISION,
    }
    if cfg.MODEL.COMPILE and cfg.TEST.NETWORK_PRECISION != "float32":
        found["MODEL.COMPILE"] = True  # it rounds to 16 bits less often
    if random_weights:
        found["SEED"] = cfg.SEED
    return json.loads(json.dumps(found))


def training_set(cfg: CfgNode) -> str:
    """What the set of the training drawings is called, which may come from several data sets."""
    return "+".join(cfg.DATASETS.NAMES)


def _named_weights(cfg: CfgNode) -> str:
    if not cfg.MODEL.WEIGHTS:
        raise InputError(
            "a test needs weights: add MODEL.WEIGHTS path/to/model_best.pth, or --random-weights for an untrained network"
        )
    if not os.path.isfile(cfg.MODEL.WEIGHTS):
        raise InputError(f"{cfg.MODEL.WEIGHTS}: no such weights file; check the path")
    return cfg.MODEL.WEIGHTS


def _lists(cfg: CfgNode, split: str) -> dict[str, dict[str, tuple[Drawing, ...]]]:
    """Set -> part -> drawings, with whole paths, so that a folder of features can be used from anywhere."""
    if split not in SPLITS:
        raise InputError(f"--split is {split}; it takes {', '.join(SPLITS)}")
    train, tests = ((), build_test_datasets(cfg)) if split == "test" else build_datasets(cfg)
    lists: dict[str, dict[str, Sequence[Drawing]]] = {}
    if split != "train":
        lists = {name: {"queries": data.queries, "gallery": data.gallery} for name, data in tests.items()}
    if split != "test":
        lists.setdefault(training_set(cfg), {})["train"] = train
    return {name: {part: _from_anywhere(list_) for part, list_ in parts.items()} for name, parts in lists.items()}


def _from_anywhere(drawings: Sequence[Drawing]) -> tuple[Drawing, ...]:
    return tuple(
        drawing if drawing.is_synthetic else replace(drawing, path=os.path.abspath(drawing.path))
        for drawing in drawings
    )


def _why_anew(folder: Path, stamps: Mapping[str, str], origin: Origin) -> dict[str, str]:
    """The parts to make with the reasons; where there are any, the folder is made and found to be writable."""
    reasons = why_anew(folder, stamps, origin=origin)
    try:
        if reasons:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentSetupError(f"{folder}: cannot be made ({error.strerror}); choose another with --output")
    if reasons and not os.access(folder, os.W_OK):
        raise EnvironmentSetupError(f"{folder}: cannot be written; choose another with --output")
    return reasons


def _leaves(name: str, section: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{name}.{key}", value)
        else:
            yield f"{name}.{key}", value
